"""`%%hwprune` in a real IPython and a real kernel: the cell trains the pruned copy, its last expression scores it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.completer import provisionalcompleter

from jupyter_hwprune import Run
from tests.conftest import fingerprint
from tests.networks import cnn
from tests.test_kernel import Kernel, kernel  # noqa: F401 - a fixture
from tests.test_magics import cell

LINE = "%%hwprune net --target tpu-v5e --pattern unstructured"
SETUP = """
import torch
from torch.nn import functional
def train(model, lr=0.05):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
def train_global():
    train(net)
def accuracy(model):
    return -functional.cross_entropy(model.eval()(x), labels)
def density(model):
    return float(model.get_parameter("1.0.weight").count_nonzero() / model.get_parameter("1.0.weight").numel())
own_optimizer = torch.optim.Adam(net.parameters())
def train_with_own_optimizer():
    net(x).sum().backward()
    own_optimizer.step()
"""


@pytest.fixture
def user(shell: Any) -> Any:
    """A user with one network, its input, and functions that train and score."""
    shell.run_line_magic("colors", "nocolor")
    shell.push({"net": cnn(), "x": torch.randn(4, 3, 16, 16), "labels": torch.tensor([1, 2, 3, 4])})
    assert shell.run_cell(SETUP).success
    return shell


def names(user: Any) -> dict[str, int]:
    return {name: id(value) for name, value in user.user_ns.items() if not name.startswith("_")}


def test_the_cell_trains_the_copy_and_its_last_expression_scores(user: Any) -> None:
    net, mark = user.user_ns["net"], fingerprint(user.user_ns["net"])
    body = "print(f'density {density(net):.2f}')\ntrain(net)\naccuracy(net)"
    result, shown = cell(user, f"{LINE} --sparsity 0.8 --schedule iterative --steps 2\n{body}")
    run = result.result
    assert isinstance(run, Run)
    assert shown.count("density") == 2
    assert "density 0.60" in shown
    assert "density 0.20" in shown
    assert user.user_ns["net"] is net
    assert fingerprint(net) == mark
    scores = run.report.scores
    assert scores is not None
    assert scores.expression == "accuracy(net)"
    assert scores.pruned == pytest.approx(user.user_ns["accuracy"](run.model).item())
    assert scores.dense == pytest.approx(user.user_ns["accuracy"](cnn_of(net)).item())
    assert scores.pruned > scores.dense  # three steps of training on the very rows that it scores
    assert run.report.request.schedule == "iterative"
    assert float((run.model.get_parameter("1.0.weight") == 0).float().mean()) == pytest.approx(0.8, abs=0.001)


def cnn_of(net: Any) -> Any:
    own = cnn()
    own.load_state_dict(net.state_dict())
    return own


def test_names_that_the_cell_binds_are_there_afterwards_and_the_models_is_as_before(user: Any) -> None:
    net = user.user_ns["net"]
    result, _ = cell(
        user, f"{LINE} -o run;\nlosses = [1.0]\ntrain(net)\nold, net = net, None\ndef again():\n    return losses"
    )
    assert result.success
    assert result.result is None
    assert isinstance(user.user_ns["run"], Run)
    assert user.user_ns["net"] is net
    assert user.user_ns["losses"] == [1.0]
    assert user.user_ns["again"]() is user.user_ns["losses"]  # a function of the cell sees the user's names
    assert user.user_ns["old"] is not net
    with torch.no_grad():
        user.user_ns["old"].get_parameter("4.weight").zero_()
    assert user.user_ns["run"].model.get_parameter("4.weight").any()


@pytest.mark.parametrize("body", ["train_global()", "%time train(net)", "for lr in (0.1, 0.01):\n    train(net, lr)"])
def test_functions_that_read_the_models_name_and_magics_train_the_copy_too(user: Any, body: str) -> None:
    net, mark = user.user_ns["net"], fingerprint(user.user_ns["net"])
    result, shown = cell(user, f"{LINE}\n{body}")
    assert result.success, shown
    assert result.result.report.scores is None
    assert fingerprint(net) == mark
    assert not torch.equal(result.result.model.get_parameter("4.bias"), net.get_parameter("4.bias"))


def test_an_optimiser_of_the_users_own_model_is_stopped(user: Any) -> None:
    mark = fingerprint(user.user_ns["net"])
    before = names(user)
    result, shown = cell(user, f"{LINE}\ncount = 1\ntrain_with_own_optimizer()")
    assert not result.success
    assert "trains net itself and not the pruned copy: the optimiser, Adam, holds the weights of net" in " ".join(
        shown.split()
    )
    assert "pass it as an argument" in " ".join(shown.split())
    assert "Traceback" not in shown
    assert fingerprint(user.user_ns["net"]) == mark
    assert names(user) == before


def test_an_error_of_the_users_is_shown_with_their_frames_only_and_changes_nothing(user: Any) -> None:
    user.run_cell("def stumble(model):\n    raise LookupError('no such file')")
    mark, before = fingerprint(user.user_ns["net"]), names(user)
    result, shown = cell(user, f"{LINE}\nbatches = 3\nlabels = labels + 0\ntrain(net)\nstumble(net)")
    assert isinstance(result.error_in_exec, LookupError)
    assert "LookupError: no such file" in shown
    assert "----> 4 stumble(net)" in shown
    assert "raise LookupError" in shown
    assert "jupyter_hwprune/" not in shown
    assert "stopped in phase train" in shown
    assert names(user) == before
    assert fingerprint(user.user_ns["net"]) == mark


def test_eval_scores_in_the_place_of_the_last_expression(user: Any) -> None:
    result, _ = cell(user, f"{LINE} --sparsity 0.5 --eval density\ntrain(net)\n'any value'")
    assert result.result.report.scores.dense == 1.0
    assert result.result.report.scores.pruned == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"{LINE}\n   \n# nothing", "UsageError: The cell under %%hwprune is the fine-tune step, but it is empty"),
        (f"{LINE}\ntrain(net", "InputError: The cell under %%hwprune cannot be read: "),
        (f"{LINE}\n0.5", "InputError: The cell's last expression, 0.5, is its score, but it does not contain net"),
        (f"{LINE}\n[net]", "InputError: The cell's last expression, [net], is its score, but it gives a list"),
        (f"{LINE}\nnet(x)", "is its score, but it gives a Tensor"),
        (f"{LINE} --schedule fast\ntrain(net)", "InputError: There is no schedule 'fast'"),
        (f"{LINE} --steps 2\ntrain(net)", "InputError: --steps is 2, but one-shot has one step"),
        (f"{LINE} --schedule cubic --steps x\ntrain(net)", "UsageError: argument --steps: invalid int value: 'x'"),
        (
            "%%hwprune [net][0] --target tpu-v5e\ntrain(net)",
            "InputError: The cell needs a variable for the pruned copy",
        ),
        ("%%hwprune targets\ntrain(net)", "UsageError: %%hwprune prunes a model and trains it with its cell; targets"),
        (
            "%%hwprune --zoo folder\ntrain(net)",
            "UsageError: %%hwprune prunes a model and trains it with its cell; --zoo",
        ),
        (f"{LINE[1:]} --schedule cubic", "InputError: The schedule cubic prunes in steps with training after each"),
    ],
)
def test_what_cannot_be_done_is_one_clear_paragraph(user: Any, code: str, said: str) -> None:
    mark, before = fingerprint(user.user_ns["net"]), names(user)
    result, shown = cell(user, code)
    assert not result.success
    assert said in " ".join(shown.split())
    assert "Traceback" not in shown
    assert "jupyter_hwprune/" not in shown
    assert fingerprint(user.user_ns["net"]) == mark
    assert names(user) == before


def test_tab_completes_the_schedules(user: Any) -> None:
    line = "%%hwprune net --schedule cu"
    with provisionalcompleter():
        assert [match.text for match in user.Completer.completions(line, len(line))] == ["cubic"]


def test_an_interrupt_of_the_training_ends_it_cleanly(kernel: Kernel, tmp_path: Path) -> None:  # noqa: F811
    started = tmp_path / "started"
    kernel.run("import time; from pathlib import Path; names = set(globals())")

    def interrupt() -> None:
        while not started.exists():
            time.sleep(0.05)
        kernel.manager.interrupt_kernel()

    body = f"made = 1\nPath({str(started)!r}).touch()\ntime.sleep(60)"
    reply, messages = kernel.run(f"{LINE}\n{body}", interrupt)
    assert reply["status"] == "error"
    assert reply["traceback"] == ["KeyboardInterrupt: stopped; the worker has ended and nothing was changed."]
    said = [m["content"]["data"]["text/plain"] for m in messages if "display_data" in m["msg_type"]]
    assert "interrupted in phase train" in said[-1]
    assert kernel.value("fingerprint(net) == mark") == "True"
    assert kernel.value("sorted(n for n in set(globals()) - names if not n.startswith('_') and n != 'names')") == "[]"
    reply, messages = kernel.run(f"{LINE} --input x\nprint('trained')\nsum(p.numel() for p in net.parameters())")
    assert reply["status"] == "ok"
    assert "trained" in "".join(m["content"]["text"] for m in messages if m["msg_type"] == "stream")
    [result] = [m for m in messages if m["msg_type"] == "execute_result"]
    assert "sum((p.numel() for p in net.parameters()))" in result["content"]["data"]["text/plain"]
