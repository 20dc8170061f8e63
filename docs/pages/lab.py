"""Tables of the extension's commands and settings, made from its own files, for the page on JupyterLab."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .markdown import table

EXTENSION = Path(__file__).parents[2] / "labextension"


def pages() -> dict[str, str]:
    settings = json.loads((EXTENSION / "schema" / "plugin.json").read_text(encoding="utf-8"))["properties"]
    rows = [(said["title"], said["description"], f"`{json.dumps(said['default'])}`") for said in settings.values()]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted(EXTENSION.glob("src/panel/*.ts")))
    commands = re.findall(r"'(hwprune:[\w-]+)': \{\s+label: '([^']+)'", sources)
    return {
        "parts/settings.md": table(("setting", "what it says", "default"), rows),
        "parts/commands.md": table(
            ("command", "its name in a keyboard shortcut"), [(b, f"`{a}`") for a, b in commands]
        ),
    }
