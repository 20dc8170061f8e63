# ruff: noqa: INP001  (a script, no package)
"""Do what Binder does, without its image: `python binder/check.py`.

A fresh environment gets binder/requirements.txt, then runs postBuild with no Node in reach, then each tutorial but the
one that asks for DeepSparse's licence. Prints what each step took.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "binder"
BROUGHT = ("ipykernel", "nbclient", "nbconvert")  # by Binder's own image, and there in its versions
ASKS_FOR_A_LICENCE = "cpu_deepsparse"


def main() -> None:
    timed("a fresh environment", lambda: venv.create(FOLDER, clear=True, with_pip=True))
    run("requirements.txt", "pip", "install", "--quiet", "--requirement", "binder/requirements.txt")
    run("postBuild", "/bin/bash", "binder/postBuild")
    run("the kernel and what runs notebooks", "pip", "install", "--quiet", *BROUGHT)
    for notebook in sorted(Path(ROOT, "notebooks").glob("*.ipynb")):
        if notebook.stem != ASKS_FOR_A_LICENCE:
            run(notebook.stem, "python", "notebooks/run.py", notebook.stem)
    size = sum(path.lstat().st_size for path in FOLDER.rglob("*"))
    print(f"the environment takes {size / 1e9:.1f} GB here")


def run(what: str, program: str, *arguments: str) -> None:
    """Run one of the environment's own programs, or /bin/bash, with nothing else on the PATH."""
    left = ("VIRTUAL_ENV", "PYTHON", "HWPRUNE")
    own = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    own["PATH"] = str(FOLDER / "bin")
    command = [str(FOLDER / "bin" / program), *arguments]  # an absolute program is itself
    timed(what, lambda: subprocess.run(command, cwd=ROOT, env=own, stdout=sys.stderr, check=True))  # noqa: S603 - as above


def timed(what: str, step: Callable[[], Any]) -> None:
    start = time.monotonic()
    step()
    print(f"{what}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
