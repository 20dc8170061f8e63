"""Write what the TypeScript side takes from the Python side: schemas, options, and reports for its tests to draw.

`python labextension/generate.py`, then `npm run types`. All are committed, and a test fails when one is stale.
"""
# ruff: noqa: INP001  (a script beside the TypeScript, no package)

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING, fields, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from cases import cases

from jupyter_hwprune import report
from jupyter_hwprune.core import options
from jupyter_hwprune.core.pattern import NOTATIONS
from jupyter_hwprune.notebook import lab, progress
from jupyter_hwprune.report import codec
from jupyter_hwprune.report.words import Words

SOURCE = Path(__file__).parent / "src"
CASES = SOURCE.parent / "test" / "view" / "cases.json"
SCHEMA = SOURCE / "report.schema.json"
OPTIONS = SOURCE / "panel" / "options.json"
ANSWERS = SOURCE / "panel" / "answers.schema.json"
ANSWERED = {**lab.SUBJECTS, "listening": lab.listen}


def schema() -> dict[str, Any]:
    """Return the JSON schema of what `Report.to_json` writes: every field is there, and no other.

    Only of a layer's fields may some be missing; a report of an older version has no words.
    """
    written = make_dataclass("Report", [("words", Words | None)], bases=(report.Report,), kw_only=True, frozen=True)
    found = _schema_of(written, inspect.getdoc(report))
    found["properties"]["schema_version"] = {"const": report.SCHEMA_VERSION}
    return {"$schema": found.pop("$schema"), "contentMediaType": report.MIME_TYPE, **found}


def answers_schema() -> dict[str, Any]:
    """Return that of an object with each answer under its subject, and a run's progress."""
    answers = {subject: get_type_hints(answer)["return"] for subject, answer in ANSWERED.items()}
    kind = make_dataclass("Answers", [*answers.items(), ("progress", progress.Progress)])
    return _schema_of(kind, "What a kernel tells the side panel, by subject, and the progress that a run shows.")


def panel_options() -> dict[str, Any]:
    """Return what the panel needs: its fields with defaults, flags and labels, the notations, and the forms."""
    flags = {name: options.OPTIONS[name].flag for name in options.FIELDS if name != options.MODEL}
    advised = [name for name in flags if "advise" in options.OPTIONS[name].forms and name != "variable"]
    takes = {option.flag: option.default is not False for option in options.OPTIONS.values()}
    forms = {"takes": takes, "steps": progress.STEPS, "subcommands": list(options.SUBCOMMANDS), "advised": advised}
    labels = {name: options.OPTIONS[name].label for name in flags}
    return {"defaults": options.DEFAULTS, "flags": flags, "labels": labels, "notations": NOTATIONS, **forms}


def _schema_of(kind: type, description: str | None = None) -> dict[str, Any]:
    from pydantic import TypeAdapter

    found = TypeAdapter(kind).json_schema()
    found["description"] = description or found["description"]
    parts = found.pop("$defs")
    for part in (found, *parts.values()):
        part["description"] = _paragraphs(part.get("description") or "")
        part["required"] = _written(part["title"]) or list(part["properties"])
        part["additionalProperties"] = False
        for field in part["properties"].values():
            field.pop("title", None)  # the name again, in capitals
            field.pop("default", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_in_order(found),
        "$defs": {name: _in_order(part) for name, part in parts.items()},
    }


def _written(name: str) -> list[str]:
    """Name the fields that are written whatever they hold, of a part of a report that leaves some out."""
    kind: Any = getattr(report, name, None)
    return [field.name for field in fields(kind) if field.default is MISSING] if codec.omits_defaults(kind) else []


def _paragraphs(docstring: str) -> str:
    """Take out the line ends that are there for the source's width, and say JSON's word for what is unknown."""
    return re.sub(r"\bNone\b", "null", re.sub(r"(?<!\n)\n(?!\n)\s*", " ", docstring))


def _in_order(part: dict[str, Any]) -> dict[str, Any]:
    """Put what a reader looks for first, and leave out an empty description."""
    keys = ("title", "description", "type", "properties", "required", "additionalProperties")
    return {key: part[key] for key in keys if part[key] or key == "additionalProperties"}


def files() -> dict[Path, str]:
    """Return every file that is made here, with what belongs in it."""
    made = {SCHEMA: schema(), ANSWERS: answers_schema(), OPTIONS: panel_options(), CASES: cases()}
    return {path: json.dumps(data, indent=2, ensure_ascii=False) + "\n" for path, data in made.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
