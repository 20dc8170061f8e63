"""The report's JSON schema, which the extension and the documentation are made from, is what the dataclasses say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from .reports import layer, report

EXTENSION = Path(__file__).parent.parent / "labextension"


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    return runpy.run_path(str(EXTENSION / "generate.py"))


@pytest.mark.parametrize(("name", "made"), [("report", "schema"), ("panel/answers", "answers_schema")])
def test_the_committed_schema_is_that_of_the_dataclasses(generate: dict[str, Any], name: str, made: str) -> None:
    wanted = generate["written"](generate[made]())
    assert (EXTENSION / "src" / f"{name}.schema.json").read_text(encoding="utf-8") == wanted, (
        "run `python labextension/generate.py`, then `npm run types` in labextension"
    )


def test_the_schema_names_every_field_that_a_report_writes(generate: dict[str, Any]) -> None:
    schema = generate["schema"]()
    data = json.loads(report((layer("a", 8, 8),)).to_json())
    assert set(schema["properties"]) == set(schema["required"]) == set(data)
    assert set(schema["$defs"]["Layer"]["properties"]) == set(data["layers"][0])


def test_no_field_of_the_schema_lacks_a_type(generate: dict[str, Any]) -> None:
    schema = generate["schema"]()
    parts = {"Report": schema, **schema["$defs"]}
    bare = [
        f"{name}.{field}"
        for name, part in parts.items()
        for field, kind in part["properties"].items()
        if not kind.keys() & {"type", "anyOf", "$ref", "enum", "const"}
    ]
    assert not bare
