"""A toolchain from outside the package that only compiles: it packs a model's weights into a file."""

from __future__ import annotations

import os
import shutil
from typing import Any

MANIFEST = {"install": "no command installs it", "runs": False, "cross_compiles": True}
FAULT = os.environ.get("HWPRUNE_COMPILING", "")


class Artefact:
    def __init__(self, model: str, folder: str) -> None:
        path = os.path.join(folder, os.path.basename(model) + ".packed")
        if FAULT != "writes nothing":
            shutil.copyfile(model, path)
        self.files = {"packed": path}


def probe() -> dict[str, Any]:
    return {"versions": {"compiling": "1.0"}, "devices": {}}


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Artefact:
    return Artefact(model, folder)
