"""Write what the TypeScript side takes from the Python side: the schema of the report.

`python labextension/generate.py`, then `npm run types`. Both files are committed, and a test fails when one is stale.
"""
# ruff: noqa: INP001  (a script beside the TypeScript, no package)

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from jupyter_hwprune import report

SCHEMA = Path(__file__).parent / "src" / "report.schema.json"


def schema() -> dict[str, Any]:
    """Return the JSON schema of what `Report.to_json` writes: every field is there, and no other."""
    from pydantic import TypeAdapter

    found = TypeAdapter(report.Report).json_schema()
    parts = found.pop("$defs")
    for part in (found, *parts.values()):
        part["description"] = _paragraphs(part.get("description") or "")
        part["required"] = list(part["properties"])
        part["additionalProperties"] = False
        for field in part["properties"].values():
            field.pop("title", None)  # the name again, in capitals
            field.pop("default", None)
    found["properties"]["schema_version"] = {"const": report.SCHEMA_VERSION}
    found["description"] = _paragraphs(inspect.getdoc(report) or "")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "contentMediaType": report.MIME_TYPE,
        **_in_order(found),
        "$defs": {name: _in_order(part) for name, part in parts.items()},
    }


def _paragraphs(docstring: str) -> str:
    """Take out the line ends that are there for the source's width, and say JSON's word for what is unknown."""
    return re.sub(r"\bNone\b", "null", re.sub(r"(?<!\n)\n(?!\n)\s*", " ", docstring))


def _in_order(part: dict[str, Any]) -> dict[str, Any]:
    """Put what a reader looks for first, and leave out an empty description."""
    keys = ("title", "description", "type", "properties", "required", "additionalProperties")
    return {key: part[key] for key in keys if part[key] or key == "additionalProperties"}


def written(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(written(schema()), encoding="utf-8")
