"""The tutorials as pages: their committed sources, with outputs if the same cells have been run here.

`python notebooks/run.py NAME` leaves the executed notebook in build/, which is used while its cells equal the sources.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .markdown import WIDE, bullets, code, contents

ROOT = Path(__file__).parents[2]
NOTEBOOKS, BUILD = ROOT / "notebooks", ROOT / "build"
INTRODUCTION = """# Tutorials

The tutorials are notebooks in the folder `notebooks`. They run from top to bottom on any CPU. Nothing is downloaded,
except DeepSparse's own packages in its tutorial. `make lab` opens them, and `python notebooks/run.py NAME` runs one.

The quickstart shows one run. Tutorials 1 to 5 are the five steps from the choice of a pattern to a model that is fast
enough, for readers who know torch and no compiler; the sixth makes the common mistakes on purpose. The others are about
one kind of chip each.
"""
OTHERS = re.compile(r"\((\w+)\.ipynb\)")
Cell = dict[str, Any]


def pages() -> dict[str, str]:
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    return {f"tutorials/{name}.md": _page(name) for name in names} | {
        "tutorials/index.md": "\n".join([INTRODUCTION, bullets(map(_link, names)), contents(names)])
    }


def _link(name: str) -> str:
    heading, *_ = _source(_cells(NOTEBOOKS / f"{name}.ipynb")[0]).splitlines()
    return f"[{heading.lstrip('# ')}]({name}.md)"


def _page(name: str) -> str:
    cells, executed = _cells(NOTEBOOKS / f"{name}.ipynb"), _cells(BUILD / f"{name}.ipynb")
    ran = [_source(cell) for cell in cells] == [_source(cell) for cell in executed]
    shown = [part for cell in (executed if ran else cells) for part in _cell(cell)]
    said = (
        "The outputs below are from a run on the machine that built this page."
        if ran
        else f"This page shows the cells only; `python notebooks/run.py {name}` runs them."
    )
    title, *rest = shown
    return WIDE + "\n".join([title, f":::{{note}}\n{said}\n:::\n", *rest])


def _cells(path: Path) -> list[Cell]:
    if not path.exists():
        return []
    cells: list[Cell] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return cells


def _source(cell: Cell) -> str:
    return "".join(cell["source"])


def _cell(cell: Cell) -> list[str]:
    if cell["cell_type"] == "markdown":
        return [OTHERS.sub(r"(\1.md)", _source(cell)) + "\n"]
    return [code(_source(cell), "ipython3"), *filter(None, map(_output, cell.get("outputs", [])))]


def _output(output: Cell) -> str:
    """Return the richest form without a script, as a viewer without the extension would show it."""
    data = output.get("data", {})
    if "text/html" in data:
        shown = f'<div class="output">{"".join(data["text/html"])}</div>'
        return code(" ".join(shown.splitlines()) if "<pre" not in shown else shown, "{raw} html")
    if "image/png" in data:
        return code(f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">', "{raw} html")
    text = "".join(data.get("text/plain") or output.get("text", ""))
    return code(text) if text else ""
