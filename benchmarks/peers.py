"""Make the peers' environment: `python -m benchmarks.peers` prints its interpreter.

torch comes first and alone, so that no peer brings another build of it.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PINS = Path(__file__).with_name("peers.txt")
FOLDER = Path(__file__).parents[1] / "build" / "peers"


def interpreter() -> Path:
    """Return the environment's Python, and make the environment where it is not there, or its pins have changed."""
    python, made_of = FOLDER / "bin" / "python", FOLDER / "pins.txt"
    if not made_of.exists() or made_of.read_text() != PINS.read_text():
        venv.create(FOLDER, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        torch = next(line for line in PINS.read_text().splitlines() if line.startswith("torch=="))
        subprocess.run([*install, torch], check=True, stdout=sys.stderr)  # noqa: S603
        subprocess.run([*install, "--requirement", str(PINS)], check=True, stdout=sys.stderr)  # noqa: S603
        made_of.write_text(PINS.read_text())
    return python


if __name__ == "__main__":
    print(interpreter())
