"""Channels scored by what their loss would change, held against removing each one and looking."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.pruning.channels import Channels, magnitudes, remove_channels
from jupyter_hwprune.pruning.graph import Coupled, analyse
from jupyter_hwprune.pruning.planning import plan_channels
from jupyter_hwprune.pruning.taylor import task_loss, taylor
from tests.networks import Transformer, conv, ids, trained_on_digits


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(1, 16), nn.Sequential(conv(16, 24), conv(24, 16))
        self.depthwise, self.wide, self.head = conv(16, 16, 3, 2, 16), conv(16, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.head(self.wide(self.depthwise(x + self.body(x))).mean((2, 3)))
        return y


@dataclass(frozen=True)
class Trained:
    net: nn.Module
    coupled: Coupled
    seen: tuple[Tensor, Tensor]
    unseen: tuple[Tensor, Tensor]

    @property
    def batches(self) -> list[Example]:
        return [Example.of(self.seen[0])]


@pytest.fixture(scope="module")
def trained() -> Trained:
    net, x, y = trained_on_digits(Digits)
    return Trained(net, analyse(net, Example.of(x[:2])), (x[:128], y[:128]), (x[600:800], y[600:800]))


def each_removed(model: nn.Module, coupled: Coupled, see: Callable[[nn.Module], float]) -> dict[str, Tensor]:
    """Zero each unit alone in all its places, and see. -> set name: [U]."""
    found = {}
    for channels in coupled.sets:
        seen = []
        for unit in range(channels.units):
            without = copy.deepcopy(model)
            tensors = dict(without.named_parameters())
            with torch.no_grad():
                for slot in channels.slots:
                    if slot.parameter:
                        tensors[slot.tensor].index_fill_(slot.dim, slot.positions[unit], 0)
                seen.append(see(without))
        found[channels.name] = torch.tensor(seen)
    return found


def agreement(scores: dict[str, Tensor], truth: dict[str, Tensor]) -> tuple[float, float]:
    """The rank correlation within a set, as a mean over the sets, and that over all units together."""
    within = [ranks_agree(scores[name], truth[name]) for name in truth]
    together = ranks_agree(torch.cat([scores[name] for name in truth]), torch.cat(list(truth.values())))
    return sum(within) / len(within), together


def ranks_agree(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([each.argsort().argsort().double() for each in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def test_scores_rank_units_as_the_held_out_loss_does_and_better_than_magnitude(trained: Trained) -> None:
    x, y = trained.unseen
    truth = each_removed(trained.net, trained.coupled, lambda net: float(functional.cross_entropy(net(x), y)))
    within, together = agreement(taylor(trained.net, trained.coupled, trained.batches, [trained.seen[1]]), truth)
    assert within > 0.5
    assert together > 0.8
    plain, plain_together = agreement(magnitudes(trained.net, trained.coupled), truth)
    assert within > plain + 0.1
    assert together > plain_together + 0.3


def test_without_labels_scores_rank_units_as_the_outputs_do(trained: Trained) -> None:
    x = trained.unseen[0]
    with torch.no_grad():
        dense = trained.net(x)
    truth = each_removed(trained.net, trained.coupled, lambda net: float((net(x) - dense).square().mean()))
    within, together = agreement(taylor(trained.net, trained.coupled, trained.batches), truth)
    assert within > 0.6
    assert together > 0.85


def test_a_small_change_is_foretold_to_the_number() -> None:
    """Of a linear model's output y = w.x, unit u is w_u x_u: its removal changes y by just that."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 1, bias=False))
    x = torch.randn(200, 3)
    example = Example.of(x)
    [scores] = taylor(model, analyse(model, Example.of(x[:2])), [example], [x], lambda out, _: out.mean()).values()
    with torch.no_grad():
        parts = model[0](x) * model[1].weight  # [200, 4], what each unit adds to the output
    expected = parts.reshape(50, 4, 4).mean(1).square().mean(0)  # 64 gradients at most: four rows share one
    torch.testing.assert_close(scores, expected)


def test_the_users_gradients_modes_and_random_numbers_stay(trained: Trained) -> None:
    model = copy.deepcopy(trained.net).train()
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number)
        parameter.requires_grad_(number % 2 == 0)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    with torch.no_grad():
        scores = taylor(model, trained.coupled, trained.batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    for number, parameter in enumerate(model.parameters()):
        assert parameter.requires_grad == (number % 2 == 0)
        assert parameter.grad is not None
        assert (parameter.grad == number).all()
    same = taylor(trained.net, trained.coupled, trained.batches)  # of the model with nothing frozen
    for name, score in scores.items():
        assert torch.equal(score, same[name])


def test_units_that_nothing_comes_of_are_worth_nothing(trained: Trained) -> None:
    model = copy.deepcopy(trained.net)
    with torch.no_grad():
        model.get_parameter("head.weight")[:, ::2] = 0
    scores = taylor(model, trained.coupled, trained.batches, [trained.seen[1]])
    last = scores[trained.coupled.sets[-1].name]
    assert (last[::2] == 0).all()
    assert (last[1::2] > 0).any()


def test_the_pruner_keeps_the_units_that_are_worth_most(trained: Trained) -> None:
    scores = taylor(trained.net, trained.coupled, trained.batches, [trained.seen[1]])
    channels = Channels.of(trained.net, Example.of(trained.unseen[0][:2]), lambda _: scores)
    keep = remove_channels(channels, plan_channels(channels, Channel(4), 0.5)).keep
    for each in trained.coupled.sets:
        slot = next(slot for slot in each.slots if slot.parameter)
        stays = [
            bool(keep[slot.tensor].index_select(slot.dim, slot.positions[unit]).any()) for unit in range(each.units)
        ]
        worth = scores[each.name]
        assert sum(stays) == each.units // 2
        assert worth[torch.tensor(stays)].min() >= worth[~torch.tensor(stays)].max()


def test_attention_heads_and_tied_tokens_are_scored_with_ids_for_labels() -> None:
    torch.manual_seed(0)
    model = Transformer(fixed_heads=True, tied=True).eval()
    tokens = ids()
    scores = taylor(model, (coupled := analyse(model, Example.of(tokens))), [Example.of(tokens)], [tokens])
    assert set(scores) == {channels.name for channels in coupled.sets}
    for channels in coupled.sets:
        assert scores[channels.name].shape == (channels.units,)
        assert (scores[channels.name] > 0).all()


def test_labels_that_are_the_inputs_are_each_predicted_from_those_before() -> None:
    out, tokens = torch.randn(2, 5, 7), torch.randint(0, 7, (2, 5))
    expected = functional.cross_entropy(out[:, :-1].reshape(-1, 7), tokens[:, 1:].reshape(-1))
    assert torch.equal(task_loss(out, tokens, [tokens]), expected)
    assert torch.equal(task_loss({"logits": out}, tokens, []), functional.cross_entropy(out.mT, tokens))
    masks = torch.randint(0, 3, (2, 4, 4))
    pixels = torch.randn(2, 3, 4, 4)
    assert torch.equal(task_loss([pixels], masks), functional.cross_entropy(pixels, masks))
    assert torch.equal(task_loss(out, out + 1), torch.tensor(1.0)) or task_loss(out, out + 1) == pytest.approx(1.0)


class Indices(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)


@pytest.mark.parametrize(
    ("model", "labels", "loss", "said"),
    [
        (None, [torch.zeros(3, dtype=torch.long)], None, r"shape \(2, 10\) and labels of shape \(3,\)"),
        (None, [], None, "labels for 0 batches, and 1 batches"),
        (None, None, lambda *_: 1 / 0, "ZeroDivisionError"),
        (None, None, lambda out, _: out, r"is a tensor of shape \(2, 10\)\."),
        (None, None, lambda *_: 3.0, "is a float"),
        (None, None, lambda out, _: out.sum() / 0, "is (inf|-inf|nan) on the calibration data"),
        (Indices(8, 8), None, None, "is a tensor of shape .* without a gradient"),
    ],
)
def test_bad_losses_labels_and_outputs_are_refused(
    trained: Trained, model: nn.Module | None, labels: list[Tensor] | None, loss: Any, said: str
) -> None:
    batches = trained.batches if model is None else [Example.of(torch.randn(2, 8))]
    with pytest.raises(InputError, match=said):
        taylor(model or trained.net, trained.coupled, batches, labels, loss)


def test_no_data_is_refused(trained: Trained) -> None:
    with pytest.raises(InputError, match="needs calibration data"):
        taylor(trained.net, trained.coupled, [])
