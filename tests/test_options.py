"""The table of options says what the functions behind the forms take, and what the package knows."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import jupyter_hwprune
from jupyter_hwprune.__main__ import main
from jupyter_hwprune.choose.checks import CHANNEL_IMPORTANCE, WEIGHT_IMPORTANCE
from jupyter_hwprune.core.options import AUTO, FROM, OPTIONS, RUN, SUBCOMMANDS, ZOO, parameters
from jupyter_hwprune.core.pattern import parse_pattern

FUNCTIONS: dict[str, Callable[..., Any]] = {
    RUN: jupyter_hwprune.hwprune,
    ZOO: jupyter_hwprune.zoo,
    FROM: jupyter_hwprune.prune_folder,
    **{name: getattr(jupyter_hwprune, name) for name in SUBCOMMANDS},
}
FOUND_OR_GIVEN = {"example", "source"}  # without a default in Python: a line finds one, or is not of that form


@pytest.mark.parametrize("form", FUNCTIONS)
def test_each_option_has_its_keyword_and_the_same_default_in_the_function_of_its_form(form: str) -> None:
    signature = inspect.signature(FUNCTIONS[form]).parameters
    taken = parameters(form)
    assert set(taken) <= set(signature)
    for parameter in set(taken) - FOUND_OR_GIVEN:
        assert signature[parameter].default == OPTIONS[taken[parameter]].default, parameter
    for parameter in FOUND_OR_GIVEN & set(taken):
        assert signature[parameter].default is inspect.Parameter.empty


def test_each_keyword_of_hwprune_is_an_option_or_known_without_one() -> None:
    of_the_call = {"model", "finetune", "effort", "progress", "name", "input_name", "recipe_name", "calib_name"}
    assert set(inspect.signature(jupyter_hwprune.hwprune).parameters) == of_the_call | set(parameters(RUN))


def test_the_choices_are_those_that_the_package_takes() -> None:
    assert set(OPTIONS["importance"].choices) == {AUTO, *CHANNEL_IMPORTANCE, *WEIGHT_IMPORTANCE}
    for pattern in OPTIONS["pattern"].choices:
        assert str(parse_pattern(pattern)) == pattern


@pytest.mark.parametrize("form", ["doctor", "setup"])
def test_the_shell_takes_the_options_of_the_magics_form(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([form, "--help"])
    said = capsys.readouterr().out
    assert all(OPTIONS[name].flag in said for name in parameters(form).values())
