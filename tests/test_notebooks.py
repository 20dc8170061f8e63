"""The tutorials run from top to bottom in a real kernel, and say what they promise to say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from jupyter_hwprune.report import MIME_TYPE

ROOT = Path(__file__).parents[1]


def test_the_quickstart_prunes_and_catches_the_common_mistake() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "notebooks" / "run.py", "00_quickstart"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # beside other tests, waiting threads only heat the cores
        capture_output=True,
        text=True,
        check=True,
    )
    assert "The finished page:" in done.stdout
    notebook = json.loads((ROOT / "build" / "00_quickstart.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    reports = [output["data"][MIME_TYPE] for output in outputs if MIME_TYPE in output.get("data", {})]
    assert [report["request"]["pattern"] for report in reports] == ["channel/8", "unstructured"]
    smaller, zeros = reports
    assert smaller["measurement"]["evidence"]["kind"] == "measured"
    assert smaller["totals"]["pruned_macs"] < smaller["totals"]["macs"] / 3
    assert zeros["measurement"]["comparison"]["verdict"] == "no measurable gain"
    assert not [output for output in outputs if output["output_type"] == "error"]
    page = (ROOT / "build" / "00_quickstart.html").read_text()
    assert "NO MEASURABLE GAIN" in page
