"""Plans: what goes from which layer, each with a pattern and a share of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune.core.errors import InputError, PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import NM, Block, Channel, Unstructured
from jupyter_hwprune.pruning import prune, recount
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.channels import Channels
from jupyter_hwprune.pruning.method import Method
from jupyter_hwprune.pruning.plan import Part, Plan
from jupyter_hwprune.pruning.planning import plan_channels, plan_zeros
from tests.conftest import fingerprint
from tests.networks import Residual

MIXED = Plan({"0": Part(NM(2, 4), 0.5), "2": Part(Unstructured(), 0.8)})


@pytest.fixture
def model() -> nn.Module:
    layers = nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 8)
    return nn.Sequential(*layers).eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(64, 32)


def method(model: nn.Module, x: Tensor, **asked: Any) -> Method:
    return Method(**asked, calibration=Calibration.of(x, model, Example.of(x)))


def weight(model: nn.Module, name: str) -> Tensor:
    return model.get_parameter(f"{name}.weight").detach()


def test_each_layer_loses_what_the_plan_says_and_a_layer_without_a_part_nothing(model: nn.Module, x: Tensor) -> None:
    before = fingerprint(model)
    pruned = prune(model, Example.of(x), MIXED)
    assert fingerprint(model) == before

    first, dense = weight(pruned.model, "0"), weight(model, "0")
    smaller_two = dense.abs().reshape(-1, 4).argsort(dim=1)[:, :2]
    assert torch.equal(first, dense.reshape(-1, 4).scatter(1, smaller_two, 0).reshape(64, 32))

    second, dense = weight(pruned.model, "2"), weight(model, "2")
    smallest = dense.abs().flatten().argsort()[: round(0.8 * dense.numel())]
    assert torch.equal(second, dense.flatten().scatter(0, smallest, 0).reshape(40, 64))

    assert torch.equal(weight(pruned.model, "4"), weight(model, "4"))
    assert {each.name: (each.pattern, each.sparsity, each.valid) for each in pruned.layers} == {
        "0": ("2:4", 0.5, True),
        "2": ("unstructured", 0.8, True),
    }
    assert [(each.name, each.reason) for each in pruned.skipped] == [("4", "the plan leaves it out")]
    assert pruned.totals.pruned_weights == sum(p.numel() for p in model.parameters()) - 1024 - 2048


@pytest.mark.parametrize("importance", ["activation", "second-order"])
def test_a_mixed_plan_holds_whatever_says_what_is_worth_keeping(model: nn.Module, x: Tensor, importance: str) -> None:
    plan = Plan({"0": Part(NM(1, 4), 0.75), "2": Part(Unstructured(), 0.75), "4": Part(Block(4, 8), 0.4)})
    pruned = prune(model, Example.of(x), plan, method(model, x, importance=importance))
    assert ((weight(pruned.model, "0").reshape(-1, 4) != 0).sum(1) == 1).all()
    assert int((weight(pruned.model, "2") == 0).sum()) == 0.75 * 40 * 64
    blocks = (weight(pruned.model, "4").reshape(2, 4, 5, 8) != 0).sum((1, 3))
    assert sorted(blocks.flatten().tolist()) == [0] * 4 + [32] * 6
    assert [each.pattern for each in pruned.layers] == ["1:4", "unstructured", "4x8"]
    assert all(each.valid for each in pruned.layers)
    again = recount(model, Example.of(x), pruned)
    assert [replace(each, error=None) for each in pruned.layers] == list(again.layers)
    assert again.totals == pruned.totals


def test_ranking_all_layers_together_gives_shares_that_make_the_mask_of_one_threshold(model: nn.Module) -> None:
    plan = plan_zeros(model, Unstructured(), 0.7, Method(allocation="global"))
    pruned = prune(model, Example.of(torch.randn(2, 32)), plan)
    sizes = {name: weight(model, name).numel() for name in plan.parts}
    every = torch.cat([weight(model, name).abs().flatten() for name in sizes])
    threshold = every.sort().values[round(0.7 * len(every))]
    for name, size in sizes.items():
        kept = weight(model, name).abs() >= threshold
        assert torch.equal(weight(pruned.model, name) != 0, kept)
        assert plan.parts[name].share == pytest.approx(1 - int(kept.sum()) / size)


def test_layers_ranked_together_by_their_inputs_are_ranked_by_those_of_the_dense_model(
    model: nn.Module, x: Tensor
) -> None:
    asked = method(model, x, importance="activation", allocation="global")
    plan = plan_zeros(model, Unstructured(), 0.6, asked)
    pruned = prune(model, Example.of(x), plan, asked)
    inputs = {"0": x, "2": torch.relu(model[0](x)), "4": torch.relu(model[2](torch.relu(model[0](x))))}  # type: ignore[index]
    worth = {name: weight(model, name).abs() * each.detach().norm(dim=0) for name, each in inputs.items()}
    every = torch.cat([each.flatten() for each in worth.values()])
    threshold = every.sort().values[round(0.6 * len(every))]
    for name, each in worth.items():
        assert torch.equal(weight(pruned.model, name) != 0, each >= threshold)


def test_shares_found_by_one_method_serve_another(model: nn.Module, x: Tensor) -> None:
    plan = plan_zeros(model, Unstructured(), 0.5, method(model, x, allocation="sensitivity"))
    assert plan.sensitivity is not None
    assert {curve.layer for curve in plan.sensitivity.curves} == set(plan.parts)
    solved = prune(model, Example.of(x), plan, method(model, x, importance="second-order"))
    plain = prune(model, Example.of(x), plan)
    assert solved.sensitivity is plan.sensitivity
    assert [each.sparsity for each in solved.layers] == [each.sparsity for each in plain.layers]
    for each in plain.layers:
        assert each.sparsity == pytest.approx(plan.parts[each.name].share, abs=1e-6)


def test_a_layer_of_which_the_plan_takes_nothing_says_so(model: nn.Module, x: Tensor) -> None:
    plan = Plan({"0": Part(Unstructured(), 0.0), "2": Part(Unstructured(), 0.5), "4": Part(Block(4, 8), 0.04)})
    reasons = {each.name: each.reason for each in prune(model, Example.of(x), plan).skipped}
    assert reasons == {"0": "the plan takes nothing of it", "4": "4x8 at 4% removes nothing of it"}
    with pytest.raises(PruneError, match=r"removes nothing from any layer\. 0: the plan takes nothing of it"):
        prune(model, Example.of(x), Plan({"0": Part(Unstructured(), 0.0)}))


def test_channels_go_by_the_sets_that_the_plan_names() -> None:
    model, example = Residual().eval(), Example.of(torch.randn(2, 3, 16, 16))
    channels = Channels.of(model, example)
    assert set(plan_channels(channels, Channel(), 0.5).parts) == {"stem.0", "body.0.0"}
    plan = Plan({"body.0.0": Part(Channel(4), 0.25)})
    for read in (None, channels):
        pruned = prune(model, example, plan, channels=read)
        assert {each.name: each.pruned_shape for each in pruned.layers} == {
            "body.0.0": (24, 16, 3, 3),
            "body.1.0": (16, 24, 3, 3),
        }
        assert {each.name: each.reason for each in pruned.skipped}["stem.0"] == "the plan leaves it out"
    with pytest.raises(PruneError, match=r"channels of 'body\.1\.0', .* They go with those of stem\.0: name that"):
        prune(model, example, Plan({"body.1.0": Part(Channel(), 0.5)}), channels=channels)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"9": Part(NM(2, 4), 0.5)}, "takes 50% of '9' by 2:4, which cannot be done: the model has no such layer"),
        ({"1": Part(NM(2, 4), 0.5)}, "takes 50% of '1' by 2:4, which cannot be done: the model has no such layer"),
        ({"0": Part(NM(2, 3), 1 / 3)}, "2:3 needs input channels in multiples of 3, and it has 32 a group"),
        (
            {"0": Part(Channel(), 0.5), "2": Part(NM(2, 4), 0.5)},
            "holds the patterns channel, 2:4. Channels are removed",
        ),
        ({"0": Part(Channel(), 0.5), "2": Part(Channel(8), 0.5)}, "holds the patterns channel, channel/8"),
        ({"9": Part(Channel(), 0.5)}, "channels of '9', .* Those that can go are 0, 2"),
    ],
)
def test_a_plan_that_does_not_fit_the_model_is_refused(
    model: nn.Module, x: Tensor, parts: dict[str, Part], said: str
) -> None:
    with pytest.raises(PruneError, match=said):
        prune(model, Example.of(x), Plan(parts))


def test_a_weight_that_stays_dense_elsewhere_is_not_pruned_by_a_plan() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.head = nn.Embedding(12, 8), nn.Linear(8, 12, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids: Tensor) -> Tensor:
            y: Tensor = self.head(self.tokens(ids))
            return y

    with pytest.raises(PruneError, match=r"'head' by 2:4, .* it shares its weight with tokens, which stays dense"):
        prune(Tied().eval(), Example.of(torch.zeros(1, 2, dtype=torch.long)), Plan({"head": Part(NM(2, 4), 0.5)}))


@pytest.mark.parametrize(("named", "other"), [("0", "2"), ("2", "0")])
def test_a_weight_that_two_layers_share_is_pruned_for_both_and_that_is_said(named: str, other: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    model[2].weight = model[0].weight
    part = Part(NM(2, 4), 0.5)
    pruned = prune(model, Example.of(torch.randn(2, 8)), Plan({named: part}))
    assert [(each.name, each.reason) for each in pruned.skipped] == [
        (other, f"it shares its weight with {named}, where it is pruned")
    ]
    with pytest.raises(PruneError, match="'2' by 2:4, which cannot be done: it shares its weight with 0"):
        prune(model, Example.of(torch.randn(2, 8)), Plan({"0": part, "2": part}))


def test_parts_and_plans_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="takes 80% of a layer by 2:4, which always removes 50%"):
        Part(NM(2, 4), 0.8)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="give a number from 0 to below 1"):
            Part(Unstructured(), share)
    with pytest.raises(InputError, match="The plan names no layer"):
        Plan({})
