"""A Sphinx extension that makes pages from the package's own data when the site is built, in the folder `generated`.

Most modules beside this one have a function `pages()` that returns the contents of files by name.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from jupyter_hwprune import Run

from . import api, benchmarks, lab, mistakes, options, reports, requirements, schema, targets, toolchains, tutorials

MAKERS = (api, benchmarks, lab, mistakes, options, reports, requirements, schema, targets, toolchains, tutorials)


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("autodoc-process-signature", without_constructor)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write(app: Any) -> None:
    """Write the pages that have changed, so that only these are built again, and remove those no longer made."""
    folder = Path(app.srcdir) / "generated"
    made = {folder / name: text for maker in MAKERS for name, text in maker.pages().items()}
    for path in {path for path in folder.rglob("*") if path.is_file()} - set(made):
        path.unlink()
    for path, text in made.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def without_constructor(*event: Any) -> tuple[str, str] | None:
    """Leave out the signatures of classes that users do not instantiate; their fields are listed below them."""
    _, kind, _, documented = event[:4]
    made_by_us = kind == "class" and (dataclasses.is_dataclass(documented) or documented is Run)
    return ("", "") if made_by_us else None
