"""The magic in a real IPython: what a user types, what they see, and that nothing of theirs changes."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
import torch

from jupyter_hwprune import Run
from jupyter_hwprune.core.options import SUBCOMMANDS
from tests.conftest import fingerprint
from tests.networks import cnn

FAST = "--target cpu --toolchain onnxruntime"


@pytest.fixture
def user(shell: Any) -> Any:
    """A user with one network, its input, and a way to score."""
    shell.run_cell("import torch\nfrom torch import nn")
    shell.push({"net": cnn(), "x": torch.randn(2, 3, 16, 16), "loss": torch.nn.CrossEntropyLoss()})
    shell.run_cell("def accuracy(model):\n    return 0.5")
    return shell


def cell(shell: Any, code: str) -> tuple[Any, str]:
    """Run a cell as the user does; return its result and all that was printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        result = shell.run_cell(code, store_history=True)
    return result, printed.getvalue()


def test_the_one_line_prunes_the_one_model_and_shows_the_report(user: Any) -> None:
    result, shown = cell(user, f"%hwprune {FAST} --eval accuracy")
    assert isinstance(result.result, Run)
    assert "hwprune: net for" in shown
    assert "0.5 → 0.5  (accuracy)" in shown
    assert result.result.report.request.model == "net"


def test_assignment_and_semicolon_and_o_keep_the_result_and_silence_the_report(user: Any) -> None:
    _, shown = cell(user, f"run = %hwprune net --input x {FAST}")
    assert isinstance(user.user_ns["run"], Run)
    assert "valid" not in shown
    assert "hwprune: net for" in shown  # the one line that says how it ended
    _, shown = cell(user, f"%hwprune net {FAST} -o kept;")
    assert isinstance(user.user_ns["kept"], Run)
    assert "valid" not in shown


def test_names_and_expressions_are_evaluated_and_braces_are_not_expanded(user: Any) -> None:
    user.push({"nets": {"a": cnn()}, "size": lambda model: sum(p.numel() for p in model.parameters())})
    result, _ = cell(user, f"""%hwprune "nets['a']" --input x[:1] {FAST} --eval size """)
    report = result.result.report
    assert report.request.model == "nets['a']"
    assert report.request.batch == 1
    assert report.scores.dense > report.scores.pruned


def test_an_expression_scores_the_pruned_copy_under_the_models_name(user: Any) -> None:
    result, _ = cell(user, f'%hwprune net {FAST} --eval "sum(p.numel() for p in net.parameters())"')
    scores = result.result.report.scores
    assert scores.pruned < scores.dense
    assert scores.dense == sum(p.numel() for p in user.user_ns["net"].parameters())


def test_the_namespace_is_left_as_it_was(user: Any) -> None:
    names = {name for name in user.user_ns if not name.startswith("_")}
    cell(user, f'%hwprune {FAST} --eval "(made_here := len(net) * 1.0)"')
    assert {name for name in user.user_ns if not name.startswith("_")} == names


def test_model_is_preferred_among_several(user: Any) -> None:
    user.push({"model": cnn()})
    result, _ = cell(user, f"%hwprune {FAST}")
    assert result.result.report.request.model == "model"


def test_targets_and_doctor_show_themselves(user: Any) -> None:
    _, shown = cell(user, "%hwprune targets")
    assert "tpu-v5e" in shown
    _, shown = cell(user, "%hwprune doctor intel-cpu")
    assert "openvino       ready" in shown


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%hwprune missing", "InputError: missing, named as the model, does not exist here"),
        ("%hwprune x", "InputError: x is a Tensor, not a torch nn.Module. The models here are: net"),
        ("%hwprune net x", "UsageError: %hwprune takes one model, and here are 2: net x"),
        ("%hwprune net --input y", "InputError: y, named as the example input, does not exist"),
        ("%hwprune net --input x[0][0]", "InputError: The model does not run on the example input of shape (16, 16)"),
        ("%hwprune net --input 1/0", "ZeroDivisionError"),
        ("%hwprune net --sparsity half", "UsageError: argument --sparsity: invalid float value: 'half'"),
        ("%hwprune net --sparsity 0", "InputError: --sparsity is 0"),
        ("%hwprune net --sparsity 1", "InputError: --sparsity is 1"),
        ("%hwprune net --sparsity 1.5", "InputError: --sparsity is 1.5"),
        ("%hwprune net --sparsity nan", "InputError: --sparsity is nan"),
        ("%hwprune net --target toaster", "InputError: There is no target 'toaster'"),
        ("%hwprune net --pattern 4:2", "InputError: The pattern '4:2' removes nothing"),
        ("%hwprune net --toolchain gcc", "InputError: There is no toolchain 'gcc'"),
        ("%hwprune net --threads none", "UsageError: argument --threads"),
        ("%hwprune net --nonsense 3", "UsageError: unrecognized arguments: --nonsense 3"),
        ('%hwprune net --eval "accuracy(net', "UsageError: The line cannot be read: No closing quotation"),
        (
            "%hwprune net --eval nothing(net)",
            "InputError: --eval nothing(net) cannot be a score: nothing does not exist",
        ),
        ("%hwprune net --eval len(x)", "InputError: --eval len(x) does not contain net"),
        ('%hwprune net --eval "1 +"', "InputError: --eval 1 + is not a Python expression"),
        ("%hwprune net --eval len(net)/0", "ZeroDivisionError: division by zero"),
        ("%hwprune net -o 3x", "UsageError: -o 3x: this is not a valid variable name"),
        ("%hwprune doctor toaster", "InputError: There is no target 'toaster'"),
        (
            "%hwprune doctor --target intel-cpu",
            "UsageError: %hwprune doctor takes no option but -o and --smoke: remove --target",
        ),
        ("%hwprune net -o class", "UsageError: -o class: this is not a valid variable name"),
        ("%hwprune net --timeout 0", "InputError: --timeout is 0"),
        ("%hwprune net --pattern channel/99999999999", "PruneError: No channel of this model can be removed"),
        ("%hwprune targets now", "UsageError: %hwprune targets takes no word after it"),
    ],
)
def test_bad_input_is_one_clear_paragraph_and_no_traceback(user: Any, line: str, said: str) -> None:
    mark = fingerprint(user.user_ns["net"])
    result, shown = cell(user, line)
    assert not result.success
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown
    assert "jupyter_hwprune/" not in shown
    assert fingerprint(user.user_ns["net"]) == mark


def test_no_model_and_two_models_are_said(shell: Any) -> None:
    _, shown = cell(shell, "%hwprune")
    assert "There is no model here" in shown
    shell.push({"a": cnn(), "b": cnn(), "loss": torch.nn.MSELoss()})
    _, shown = cell(shell, "%hwprune")
    assert "There are several models here: a, b." in shown
    assert "Traceback" not in shown


def test_no_clear_input_is_said(shell: Any) -> None:
    shell.push({"net": cnn(), "p": torch.zeros(1), "q": torch.zeros(1)})
    _, shown = cell(shell, "%hwprune")
    assert "The example input is not clear. The tensors here are: p, q." in " ".join(shown.split())


def test_help_is_there_both_ways(user: Any) -> None:
    _, shown = cell(user, "%hwprune --help")
    assert "--sparsity" in shown
    assert "channel/8" in user.find_line_magic("hwprune").__doc__


def test_o_keeps_what_the_doctor_found(user: Any) -> None:
    cell(user, "%hwprune doctor intel-cpu -o found;")
    assert user.user_ns["found"].toolchains[0].name == "openvino"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--target intel-cpi", "Did you mean intel-cpu?"),
        ("--target hoper", "Did you mean hopper?"),
        ("--pattern chanel/8", "Did you mean channel/8?"),
        ("--patern 2:4", "Did you mean --pattern?"),
        ("--toolchain openvno", "Did you mean openvino?"),
        ("--target intel-cpu:onnxruntme", "Did you mean onnxruntime?"),
        ("--importance magnitud", "Did you mean magnitude?"),
        ("--allocation globl", "Did you mean global?"),
        ("--dtype int88", "Did you mean int8?"),
        ("--schedule cubik", "Did you mean cubic?"),
        ("nett", "Did you mean net?"),
        ("docter", "Did you mean doctor?"),
        ("--input xs", "Did you mean x?"),
        ("--eval acuracy(net)", "Did you mean accuracy?"),
        ("--eval acurracy", "Did you mean accuracy?"),
        ("--calib xx", "Did you mean x?"),
        ("--ignore HWP13", "Did you mean HWP113?"),
        ("setup deepspars", "Did you mean deepsparse?"),
        ("doctor hoper", "Did you mean hopper?"),
    ],
)
def test_a_misspelt_word_gets_the_nearest_one(user: Any, line: str, said: str) -> None:
    _, shown = cell(user, f"%hwprune {line}")
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown


def test_the_help_begins_with_the_model_and_the_subcommands(user: Any) -> None:
    said = user.find_line_magic("hwprune").__doc__
    assert said.startswith("  %hwprune [MODEL] [OPTIONS] ")
    for name in SUBCOMMANDS:
        assert said.index(f"%hwprune {name}") < said.index("--input")


def test_a_line_that_fits_is_shown_whole(user: Any) -> None:
    user.run_cell("few = nn.Sequential(nn.Linear(18, 7))")
    options = "--target ampere --importance activation --threads 1 --timeout 900 --ignore HWP113 --ignore HWP114"
    _, shown = cell(user, f"%hwprune few --input torch.ones(2,18) {options}")
    line = shown.splitlines()[-1]
    assert line.startswith("%hwprune few --input 'torch.ones(2,18)' --target ampere --pattern unstructured")
    result, _ = cell(user, line)
    assert result.success
