"""What the extension takes from the Python side is fresh: JSON schemas, options, reports for its tests to draw."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from jupyter_hwprune.report import Comparison, Compressed, Counters, Layer, LayerEstimate, Utilization

from .reports import layer, report

# what nobody asked of the layers of other tests
EVERYTHING: dict[str, Any] = {
    "served_by": ("cusparselt",),
    "rows": 8,
    "groups": 2,
    "alone": Comparison(2.0, 1.9, 2.1, 0.03, "faster"),
    "utilization": Utilization(0.5, 0.6),
    "compressed": Compressed(128, 72),
    "counters": Counters(1.0, 0.0),
    "error": 0.1,
    "evidence": "measured",
    "estimate": LayerEstimate(2.0, 1.0),
    "ran_on": "another processor",
}
EXTENSION = Path(__file__).parent.parent / "labextension"


@pytest.fixture(scope="module")
def generate() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXTENSION))
        return runpy.run_path(str(EXTENSION / "generate.py"))


@pytest.mark.parametrize(
    "name",
    ["src/report.schema.json", "src/panel/answers.schema.json", "src/panel/options.json", "test/view/cases.json"],
)
def test_what_is_committed_is_what_the_python_side_says(generate: dict[str, Any], name: str) -> None:
    wanted = generate["files"]()[EXTENSION / name]
    assert (EXTENSION / name).read_text(encoding="utf-8") == wanted, (
        "run `python labextension/generate.py`, then `npm run types` in labextension"
    )


def test_the_schema_names_every_field_that_a_report_writes(generate: dict[str, Any]) -> None:
    schema = generate["schema"]()
    full = dataclasses.replace(layer("a", 8, 8), **EVERYTHING)
    bare = Layer("b", "Linear", (8, 8), (8, 8), "2:4", 0.5, None, None, valid=True, valid_groups=1.0, picture=None)
    data = json.loads(report((full, bare)).to_json())
    assert set(schema["properties"]) == set(schema["required"]) == set(data)
    assert set(schema["$defs"]["Layer"]["properties"]) == set(data["layers"][0])
    assert set(schema["$defs"]["Layer"]["required"]) == set(data["layers"][1])
    assert set(schema["$defs"]["Words"]["required"]) == set(data["words"])


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
