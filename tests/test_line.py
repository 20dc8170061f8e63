"""The line that a form stands for: the magic reads it back as the form says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_hwprune.core.options import AUTO, DEFAULTS, OPTIONS, SUBCOMMANDS, magic_line
from jupyter_hwprune.notebook.asked import parse
from jupyter_hwprune.notebook.magics import HwpruneMagics
from jupyter_hwprune.report import Recipe, Report, Request, Scores, words
from tests.reports import layer, report

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
        "importance": st.sampled_from(["auto", "magnitude", "second-order"]),
        "calib": expressions(),
        "allocation": st.sampled_from(["uniform", "sensitivity:score"]),
        "recover": st.one_of(st.just(""), st.integers(1, 999).map(str)),
        "toolchain": expressions(),
        "dtype": st.sampled_from(["", "int8", "bfloat16"]),
        "threads": st.integers(1, 64).map(str),
        "eval": expressions(),
        "speedup": st.one_of(st.just(""), st.floats(1.01, 9.0).map(str)),
        "latency_ms": st.one_of(st.just(""), st.floats(0.1, 99.0).map(str)),
        "max_drop": st.one_of(st.just(""), st.floats(0.001, 1.0).map(str)),
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
    numbers = ("sparsity", "speedup", "latency_ms", "max_drop")
    said |= {name: int(filled[name]) for name in ("threads", "recover") if filled[name]} | {
        name: float(filled[name]) for name in numbers if filled[name]
    }
    read = vars(options) | {"model": options.words}
    assert {name: read[name] or "" for name in said if name != "model"} == {
        k: v for k, v in said.items() if k != "model"
    }
    assert read["model"] == said["model"]
    assert len(line.splitlines()) == 1


def test_only_what_differs_from_the_defaults_is_said_in_the_order_of_the_help() -> None:
    values = ["net", "x", "hopper", "2:4", "0.5", "taylor", "loader", "global", "tensorrt", "int8", "2", "acc"]
    values += ["5", "2", "0.01", "200", "run"]
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


# The line that asks for a report's run again.


def run_of(expression: str | None = None, **changes: Any) -> Report:
    """Return a report whose request says only what a run cannot leave open, but for the changes."""
    request = Request("net", "hopper", "cusparselt", "cuda", "bfloat16", "2:4", 0.5, "magnitude", "uniform", 1, 4)
    request = replace(request, takes_dtype=True)
    scores = None if expression is None else Scores(expression, 0.9, 0.8)
    return replace(report((layer("a", 8, 8),)), request=replace(request, **changes), scores=scores)


PLAIN = "%hwprune net --target hopper:cusparselt --pattern 2:4 --sparsity 0.5 --dtype bfloat16 --batch 4 -o run"


def test_the_line_of_a_report_leaves_out_what_is_the_default() -> None:
    assert words.line(run_of()) == PLAIN


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threads": 2}, "--threads 2"),
        ({"expression": "accuracy(net)"}, "--eval 'accuracy(net)'"),
        ({"expression": "-loss(net)"}, "--eval='-loss(net)'"),
        ({"expression": "score(\n  net)"}, "--eval 'score( net)'"),
        ({"input": "-x"}, "--input=-x"),
        ({"input": "None"}, "--input None"),
        ({"importance": "second-order", "calib": "loader"}, "--importance second-order --calib loader"),
        ({"dense": ("head", "layers.0.*")}, "--dense head --dense 'layers.0.*'"),
        ({"permute": True, "keep_all": True}, "--permute --dtype bfloat16 --keep-all"),
    ],
)
def test_the_line_of_a_report_says_what_differs(changes: dict[str, Any], said: str) -> None:
    assert f" {said} " in words.line(run_of(**changes))


def test_the_line_of_a_report_with_a_recipe_leaves_the_method_to_that() -> None:
    asked = words.line(run_of(recipe=Recipe("prune.yaml", "..."), importance="recipe", pattern="unstructured"))
    assert asked == "%hwprune net --target hopper:cusparselt --recipe prune.yaml --dtype bfloat16 --batch 4 -o run"


def test_a_score_that_has_no_name_is_not_asked_for() -> None:
    for nameless in ("<lambda>", "functools.partial(<function accuracy at 0x7f>, rows=8)"):
        assert words.line(run_of(expression=nameless)) == PLAIN


def test_a_report_of_training_in_steps_has_the_line_above_a_cell() -> None:
    asked = words.line(run_of(schedule="cubic", steps=3, model="targets"))
    assert asked.startswith("%%hwprune '(targets)' --target")
    assert "--schedule cubic --steps 3" in asked


@given(
    st.builds(
        dict,
        expression=st.sampled_from([None, "accuracy(net)", "-loss(net)"]),
        threads=st.integers(1, 8),
        input=st.one_of(st.none(), expressions().filter(bool)),
        calib=st.one_of(st.none(), expressions().filter(bool)),
        importance=st.sampled_from(["magnitude", "activation"]),
        allocation=st.sampled_from(["uniform", "global"]),
        dense=st.lists(expressions().filter(bool), max_size=3).map(tuple),
        permute=st.booleans(),
        keep_all=st.booleans(),
        keep_statistics=st.booleans(),
        solver=st.sampled_from(["quick", "full", "best"]),
        tune_blocks=st.one_of(st.none(), st.integers(1, 500)),
        tune_kernels=st.one_of(st.none(), st.integers(1, 500).map(float)),
        rpc=st.one_of(st.none(), st.just("board:9090")),
        rpc_key=st.one_of(st.none(), st.just("rasp4")),
        int8_error=st.one_of(st.none(), st.floats(0.01, 0.5).map(lambda own: round(own, 2))),
    )
)
def test_the_magic_reads_the_line_of_a_report_back_as_what_was_asked(changes: dict[str, Any]) -> None:
    asked = run_of(**changes)
    options = parse(words.line(asked).removeprefix("%hwprune"))
    assert options is not None
    read = {name: value for name, value in vars(options).items() if hasattr(asked.request, name)}
    said = {name: getattr(asked.request, name) for name in OPTIONS if hasattr(asked.request, name)}
    listed = {name: tuple(getattr(options, name)) for name in ("dense", "ignore", "config")}
    if read["importance"] == AUTO:  # which is magnitude for single weights
        read["importance"] = "magnitude"
    assert read | listed == said | {
        "target": "hopper:cusparselt",
        "toolchain": None,
    }
    assert options.eval == changes["expression"]
    assert (options.words, options.variable) == (["net"], "run")
