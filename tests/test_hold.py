"""`with run.hold():` keeps a run's zeros in a training loop of the user's own, with any optimiser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from jupyter_hwprune import Run, hwprune, load
from jupyter_hwprune.core.errors import InputError

OPTIMISERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD with momentum and decay": lambda weights: SGD(weights, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "AdamW": lambda weights: AdamW(weights, 0.05, weight_decay=0.1),
}


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))


def pruned(pattern: str = "2:4") -> Run:
    return hwprune(mlp(), torch.randn(2, 16), target="tpu-v5e", pattern=pattern)


def train(model: nn.Module, optimizer: Optimizer, steps: int = 5) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 16)).square().sum().backward()
        optimizer.step()


def zeros(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach() == 0 for name, weight in model.named_parameters() if weight.dim() > 1}


@pytest.mark.parametrize("made", ["before", "inside"])
@pytest.mark.parametrize("kind", OPTIMISERS)
def test_zeros_hold_and_the_other_weights_train(kind: str, made: str) -> None:
    run = pruned()
    before, gone = [each.detach().clone() for each in run.model.parameters()], zeros(run.model)
    optimizer = OPTIMISERS[kind](run.model.parameters())
    with run.hold():
        optimizer = optimizer if made == "before" else OPTIMISERS[kind](run.model.parameters())
        train(run.model, optimizer)
    assert all(int(each.sum()) == each.numel() // 2 for each in gone.values())
    assert all(torch.equal(each, gone[name]) for name, each in zeros(run.model).items())
    assert not any(torch.equal(was, now) for was, now in zip(before, run.model.parameters(), strict=True))
    train(run.model, optimizer, steps=1)  # and after it, an optimiser does what it does
    assert not any(torch.equal(each, gone[name]) for name, each in zeros(run.model).items())


def test_momentum_of_before_brings_no_weight_back() -> None:
    run = pruned()
    gone = zeros(run.model)
    optimizer = SGD(run.model.parameters(), 1e-9, momentum=0.99)
    weights = {name: each for name, each in run.model.named_parameters() if name in gone}
    train(run.model, optimizer)
    for name, each in weights.items():  # a loop of the user's own that has forgotten them once, and put them back
        each.data.masked_fill_(gone[name], 0)
    with run.hold():
        train(run.model, optimizer, steps=1)
        for name, each in weights.items():
            assert not bool(optimizer.state[each]["momentum_buffer"][gone[name]].any())
    assert all(torch.equal(each, gone[name]) for name, each in zeros(run.model).items())


def test_a_run_that_was_loaded_holds_and_one_that_was_held_can_be_saved(tmp_path: Path) -> None:
    run = pruned()
    with run.hold():
        train(run.model, AdamW(run.model.parameters()))
    run.save(tmp_path / "run")
    again = load(tmp_path / "run", mlp())
    gone = zeros(again.model)
    with again.hold():
        train(again.model, AdamW(again.model.parameters()))
    assert all(torch.equal(each, gone[name]) for name, each in zeros(again.model).items())


def test_a_run_of_removed_channels_has_nothing_to_hold() -> None:
    run = pruned("channel/8")
    with run.hold():
        train(run.model, AdamW(run.model.parameters()))
    assert run.model.get_parameter("0.weight").shape == (16, 16)
    assert not any(bool(each.any()) for each in zeros(run.model).values())


def test_zeros_that_are_gone_already_are_said() -> None:
    run = pruned()
    train(run.model, AdamW(run.model.parameters()))
    with pytest.raises(InputError, match=r"no longer describes the model \(0.weight, 2.weight\).*with run.hold"):
        run.hold()
