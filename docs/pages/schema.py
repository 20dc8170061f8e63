"""The page of the report's JSON, made from the same schema as the TypeScript types."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jupyter_hwprune.notebook import progress
from jupyter_hwprune.report import MIME_TYPE, OLDER_VERSION, SCHEMA_VERSION

from .markdown import code, table

SCHEMA = Path(__file__).parents[2] / "labextension" / "src" / "report.schema.json"

INTRODUCTION = """# The report as JSON

The MIME type is `{mime_type}`, the schema's version {version}. `Report.to_json` writes it and `Report.from_json` reads
it, and version {older} as well; other versions are refused. Its `words` are the sentences that a reader is shown:
programs that draw a report draw those, and programs that read numbers ignore them. The schema is made from the
package's dataclasses, and the extension's types are made from the schema:
{{download}}`report.schema.json <../../labextension/src/report.schema.json>`.
"""


def pages() -> dict[str, str]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = [
        INTRODUCTION.format(mime_type=MIME_TYPE, version=SCHEMA_VERSION, older=OLDER_VERSION),
        schema["description"] + "\n",
        f"## {schema['title']}\n\n{_fields(schema)}",
        *(f"## {name}\n\n{part.get('description', '')}\n\n{_fields(part)}" for name, part in schema["$defs"].items()),
        f"## Progress\n\nWhile a run goes on, its progress line is published as `{progress.MIME_TYPE}`:\n",
        code(_example(), "json"),
    ]
    return {"schema.md": "\n".join(parts)}


def _fields(part: dict[str, Any]) -> str:
    return table(("field", "type"), [(f"`{name}`", _type(said)) for name, said in part["properties"].items()])


def _type(said: dict[str, Any]) -> str:
    if "$ref" in said:
        name = said["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in said:
        return " or ".join(map(_type, said["anyOf"]))
    if "enum" in said or "const" in said:
        return " or ".join(f"`{json.dumps(value)}`" for value in said.get("enum", [said.get("const")]))
    if said["type"] == "array":
        inner = said.get("items") or {"type": "any"}
        return f"array of {_type(inner)}"
    if said["type"] == "object":
        return f"object of {_type(said['additionalProperties'])} by name"
    return str(said["type"])


def _example() -> str:
    return json.dumps(asdict(progress.Progress("running", "measure", "round 12 of 60", 7.5)), indent=2)
