"""The one door on every public function: whatever breaks inside, one paragraph of ours comes out, with its cause."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import jupyter_hwprune
from jupyter_hwprune import (
    HwpruneError,
    InputError,
    Report,
    Run,
    advise,
    doctor,
    layer_ranges,
    load,
    merge,
    panel,
    prune_folder,
    setup,
    simulate,
    targets,
    zoo,
)
from tests.test_door_models import quick, small
from tests.test_magics import cell


class WordlessError(Exception):
    """An error that cannot even say what it is."""

    def __str__(self) -> str:
        raise KeyError


def breaks(*_: Any, **__: Any) -> Any:
    raise WordlessError


@pytest.fixture(scope="module")
def run() -> Run:
    made: Run = quick(small(), torch.ones(2, 16), sparsity=0.5)
    return made


HOME = "jupyter_hwprune."
CALLS: dict[str, tuple[str, Callable[[Run, Path], Any], str]] = {
    "advise": ("survey.advice.choices_of", lambda *_: advise(small(), torch.ones(2, 16)), "before its first phase"),
    "simulate": ("survey.simulation.choose", lambda *_: simulate(small(), torch.ones(2, 16)), "before its first phase"),
    "targets": ("survey.matrix.probe_all", lambda *_: targets(), ""),
    "doctor": ("survey.doctor.probe_all", lambda *_: doctor(), ""),
    "setup": ("survey.provision.environments.names", lambda *_: setup(), "before its first phase"),
    "zoo": ("modelzoo.choose", lambda _, folder: zoo(folder / "run"), "before its first phase"),
    "prune_folder": (
        "checkpoint.choose",
        lambda _, folder: prune_folder(folder / "run", out=folder / "new"),
        "before its first phase",
    ),
    "load": ("keep.run.rebuild", lambda _, folder: load(folder / "run", small()), ""),
    "merge": ("report.Report.timed", lambda run, _: merge(run.report, run.report), ""),
    "panel": ("notebook.panel.get_ipython", lambda *_: panel(), ""),
    "Run.save": ("keep.run.save", lambda run, folder: run.save(folder / "new"), ""),
    "Run.export": ("keep.run.export", lambda run, folder: run.export(folder / "out"), ""),
    "Run.hold": ("keep.run.zeros_of", lambda run, _: run.hold(), ""),
    "Run.to_sparseml": ("keep.run.recipe_text", lambda run, _: run.to_sparseml(), ""),
    "Report.metrics": ("report.report.metrics", lambda run, _: run.report.metrics(), ""),
    "Report.to_json": ("report.report.words.words_of", lambda run, _: run.report.to_json(), ""),
    "Report.save": ("report.report.words.words_of", lambda run, folder: run.report.save(folder / "r.json"), ""),
    "Report.from_json": ("report.report.codec.structure", lambda run, _: Report.from_json(run.report.to_json()), ""),
    "Report.load": ("report.report.codec.structure", lambda _, folder: Report.load(folder / "report.json"), ""),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_breaks_inside_comes_out_as_one_paragraph_of_ours(
    name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking, call, where = CALLS[name]
    run.save(tmp_path / "run")
    run.report.save(tmp_path / "report.json")
    monkeypatch.setattr(HOME + breaking, property(breaks) if breaking.endswith("Report.timed") else breaks)
    with pytest.raises(HwpruneError, match="with an unexpected error: WordlessError") as caught:
        call(run, tmp_path)
    said = str(caught.value)
    assert isinstance(caught.value.__cause__, WordlessError)
    assert "\n" not in said
    within = {"Report.save": "Report.to_json", "Report.load": "Report.from_json"}.get(name, name)
    assert said.startswith(f"{within} stopped {where}".rstrip())
    assert ("in the phase" in said, "before its first" in said) == (False, bool(where))
    assert ("Your model is unchanged" in said) == (name in {"advise", "simulate", "load"})
    assert ("--pattern" in said, "--toolchain" in said) == (
        name == "prune_folder",
        name in {"advise", "simulate", "zoo"},
    )


def test_every_public_function_has_the_door() -> None:
    functions = {name for name in jupyter_hwprune.__all__ if inspect.isfunction(getattr(jupyter_hwprune, name))}
    assert functions - {"hwprune", "layer_ranges"} <= set(CALLS)  # the first is tested beside, the other has no door
    for kind in (Run, Report):
        own = {name for name, member in vars(kind).items() if not name.startswith("_") and callable(member)}
        own |= {name for name, member in vars(kind).items() if isinstance(member, classmethod)}
        assert {f"{kind.__name__}.{name}" for name in own} <= set(CALLS)


def test_a_wrong_call_is_pythons_own_error(run: Run) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'other'"):
        merge(run.report)  # type: ignore[call-arg]


def test_the_progress_functions_own_error_is_the_callers() -> None:
    with pytest.raises(WordlessError):
        quick(small(), torch.ones(1, 16), progress=breaks)


def test_ranges_leave_the_users_errors_alone_and_refuse_what_is_no_model() -> None:
    with pytest.raises(WordlessError), layer_ranges(small()):
        raise WordlessError
    with pytest.raises(InputError, match="The model is a int"), layer_ranges(3):  # type: ignore[arg-type]
        pass


def test_what_is_no_report_joins_none(run: Run) -> None:
    with pytest.raises(InputError, match="this is a dict"):
        merge(run.report, {})  # type: ignore[arg-type]


def test_calibration_data_that_breaks_is_said_with_its_own_error() -> None:
    def batches() -> Iterator[torch.Tensor]:
        yield torch.ones(2, 16)
        raise KeyError("image")

    with pytest.raises(InputError, match="The calibration data raised KeyError: 'image' while") as caught:
        quick(small(), torch.ones(1, 16), importance="activation", calib=batches())
    assert isinstance(caught.value.__cause__, KeyError)


class Unbound:
    """A proxy outside of what it stands for, as request-bound ones are: it cannot even say its class."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("outside of a request")


class HalfMade(nn.Module):
    def __init__(self) -> None:  # never calls nn.Module's
        pass


@pytest.fixture
def user(shell: Any) -> Any:
    shell.push({"net": small(), "x": torch.ones(2, 16), "odd": Unbound(), "half": object.__new__(HalfMade)})
    return shell


def test_odd_values_in_the_namespace_hinder_no_look_up(user: Any) -> None:
    result, shown = cell(user, "%hwprune --toolchain onnxruntime --sparsity 0.5")
    assert isinstance(result.result, Run), shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("odd", "odd is a Unbound, not a torch nn.Module"),
        ("f(3)", "f(3), given as the model, could not be evaluated: name 'f' is not defined"),
        ("net --input [][0]", "given as the example input, could not be evaluated: IndexError"),
        ("net --eval '(((net)'", "is not a Python expression"),
        ("net --eval '" + "(" * 300 + "net" + ")" * 300 + "'", "is not a Python expression"),
        ("net --eval net.missing", "The score could not be computed: AttributeError"),
        ("net --importance activation --calib 1/0", "as the calibration inputs, could not be evaluated: ZeroDivision"),
        ("net --recipe x", "InputError: "),
        ("advise half", "The model, a HalfMade, has no parts yet"),
        ("simulate half", "The model, a HalfMade, has no parts yet"),
        ("half", "The model, a HalfMade, has no parts yet"),
        ("merge net x", "net is a Sequential, not a run or report."),
        ("merge odd x", "odd is a Unbound, not a run or report."),
        ("merge one.json two.json", "ReportError: There is no report to read in one.json"),
    ],
)
def test_a_look_up_that_fails_is_one_paragraph(user: Any, line: str, said: str) -> None:
    _, shown = cell(user, f"%hwprune {line}")
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("body", "said"),
    [("return 5", "'return' outside function"), ("await net", "'await' outside function"), ("x = '\0'", "source code")],
)
def test_a_cell_that_cannot_be_compiled_is_one_paragraph(user: Any, body: str, said: str) -> None:
    _, shown = cell(user, f"%%hwprune net --toolchain onnxruntime\n{body}")
    assert f"InputError: The cell under %%hwprune cannot be read: {said}" in " ".join(shown.split())
    assert "Traceback" not in shown
