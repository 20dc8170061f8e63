"""The line that a form stands for: the magic reads it back as the form says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_hwprune.notebook.asked import parse
from jupyter_hwprune.notebook.magics import HwpruneMagics
from jupyter_hwprune.options import DEFAULTS, SUBCOMMANDS, magic_line

# the file is shared with JupyterLab's side panel, so that both write the same
LINES = json.loads((Path(__file__).parent / "magic_lines.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", LINES, ids=lambda row: row["line"])
def test_a_form_has_the_line_that_jupyterlabs_side_panel_writes(row: dict[str, Any]) -> None:
    assert magic_line(DEFAULTS | row["form"]) == row["line"]


def expressions() -> st.SearchStrategy[str]:
    """Anything that may be typed into a field of one line, quotes and dashes too; a bare `--` is no expression."""
    text = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=20)
    return text.map(str.strip).filter(lambda typed: typed != "--")


FORMS = st.fixed_dictionaries(
    {
        "model": expressions().filter(lambda typed: typed not in SUBCOMMANDS and not typed.startswith("-")),
        "input": expressions(),
        "target": st.sampled_from(["cpu", "intel-cpu", "hopper"]),
        "pattern": st.sampled_from(["", "2:4", "channel/8", "16x16"]),
        "sparsity": st.one_of(st.just(""), st.floats(0.01, 0.99).map(str)),
        "importance": st.sampled_from(["magnitude", "second-order"]),
        "calib": expressions(),
        "allocation": st.sampled_from(["uniform", "sensitivity:score"]),
        "toolchain": expressions(),
        "threads": st.integers(1, 64).map(str),
        "eval": expressions(),
        "variable": st.sampled_from(["", "run", "größe"]),
    }
)


@given(FORMS)
def test_the_magic_reads_back_what_the_form_says_and_in_the_order_of_its_help(filled: dict[str, str]) -> None:
    assert set(filled) == set(DEFAULTS)
    line = magic_line(filled)
    options = parse(line.removeprefix("%hwprune"))
    assert options is not None
    said: dict[str, Any] = filled | {"model": [filled["model"]] if filled["model"] else []}
    said |= {"threads": int(filled["threads"]), "sparsity": float(filled["sparsity"]) if filled["sparsity"] else ""}
    read = vars(options) | {"model": options.words}
    assert {name: read[name] or "" for name in said if name != "model"} == {
        k: v for k, v in said.items() if k != "model"
    }
    assert read["model"] == said["model"]
    assert len(line.splitlines()) == 1


def test_only_what_differs_from_the_defaults_is_said_in_the_order_of_the_help() -> None:
    values = ["net", "x", "hopper", "2:4", "0.5", "taylor", "loader", "global", "tensorrt", "2", "acc", "run"]
    everything = dict(zip(DEFAULTS, values, strict=True))
    words = magic_line(everything).split()
    said = [word for word in words if word.startswith("-")]
    helped = [flag for action in HwpruneMagics.hwprune.parser._actions for flag in action.option_strings]
    assert said == [flag for flag in helped if flag in said]
    assert len(said) == len(everything) - 1
    assert magic_line(DEFAULTS) == "%hwprune"


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_model_called_as_a_form_of_the_magic_is_still_a_model(name: str) -> None:
    assert magic_line(DEFAULTS | {"model": name}) == f"%hwprune '({name})'"
