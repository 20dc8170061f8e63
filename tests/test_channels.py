"""Whole channels removed from real networks: smaller, and equal to the dense model under the same mask."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.pruning.channels import Channels, remove_channels
from jupyter_hwprune.pruning.equivalence import relative_difference
from jupyter_hwprune.pruning.method import Method
from jupyter_hwprune.pruning.planning import plan_channels
from tests.conftest import fingerprint
from tests.networks import ZOO, Attention, HiddenHeads, Residual, Transformer


def total(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("name", ZOO)
def test_the_pruned_network_is_smaller_and_the_dense_one_untouched(name: str, allocation: str) -> None:
    build, make_input = ZOO[name]
    model, x = build().eval(), make_input()
    before = fingerprint(model)
    dense_shapes = [t.shape for t in Example.of(x).outputs(model)]
    result = plan_and_prune(model, Example.of(x), Channel(4), 0.5, Method(allocation=allocation))  # type: ignore[arg-type]
    assert total(result.model) < total(model)
    assert [t.shape for t in Example.of(x).outputs(result.model)] == dense_shapes
    assert fingerprint(model) == before
    for layer in result.layers:
        assert layer.pruned_shape != layer.shape
        assert layer.valid


@pytest.mark.parametrize("name", ["cnn", "residual", "concat", "unet", "two_outputs"])
def test_it_computes_what_the_dense_network_computes_with_those_channels_at_zero(name: str) -> None:
    """They normalise per channel only, so plain zeros are the mask: a reference that shares no code of ours."""
    build, make_input = ZOO[name]
    model, x = build().eval(), make_input()
    for module in model.modules():  # statistics that would show a misaligned channel
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias)
    channels = Channels.of(model, Example.of(x))
    surgery = remove_channels(channels, plan_channels(channels, Channel(4), 0.5))
    masked = copy.deepcopy(model)
    with torch.no_grad():
        for key, tensor in masked.named_parameters():
            if key in surgery.keep:
                tensor.mul_(surgery.keep[key])
    ours, expected = Example.of(x).outputs(surgery.model), Example.of(x).outputs(masked)
    assert relative_difference(ours, expected) < 1e-5
    assert relative_difference(ours, Example.of(x).outputs(model)) > 1e-3


@pytest.mark.parametrize("multiple", [1, 4, 8])
def test_channels_left_are_a_multiple(multiple: int) -> None:
    build, make_input = ZOO["mobile"]
    result = plan_and_prune(build().eval(), Example.of(make_input()), Channel(multiple), 0.4)
    for layer in result.layers:
        if layer.pruned_shape[0] != layer.shape[0]:
            assert layer.pruned_shape[0] % multiple == 0


def test_frozen_parameters_are_pruned_and_stay_frozen() -> None:
    model = Residual().eval().requires_grad_(requires_grad=False)
    model.head.weight.requires_grad_()
    result = plan_and_prune(model, Example.of(torch.randn(1, 3, 16, 16)), Channel(4), 0.5)
    assert total(result.model) < total(model)
    flags = {name: p.requires_grad for name, p in result.model.named_parameters()}
    assert flags == {name: name == "head.weight" for name in flags}


@pytest.mark.parametrize("fixed", [True, False])
def test_attention_loses_whole_heads(fixed: bool) -> None:
    model = Transformer(fixed_heads=fixed).eval()
    pruned = plan_and_prune(model, Example.of(torch.randint(0, 50, (1, 5))), Channel(), 0.5).model
    attention = pruned.get_submodule("attention")
    assert isinstance(attention, Attention)
    assert attention.num_heads == 2
    kept = attention.q.out_features // attention.head_dim
    assert kept == 2


def test_heads_that_nothing_names_go_whole_too() -> None:
    model = Transformer(named=False).eval()
    channels = Channels.of(model, Example.of(torch.randint(0, 50, (1, 5))))
    result = remove_channels(channels, plan_channels(channels, Channel(), 0.5))
    for name in ("attention.q.weight", "attention.k.weight", "attention.v.weight"):
        by_head = result.keep[name].any(1).reshape(4, 8).float().mean(1)
        assert sorted(by_head.tolist()) == [0, 0, 1, 1]


def test_tied_weights_stay_tied() -> None:
    pruned = plan_and_prune(
        Transformer(tied=True).eval(), Example.of(torch.randint(0, 50, (1, 5))), Channel(8), 0.5
    ).model
    assert pruned.get_parameter("head.weight") is pruned.get_parameter("tokens.weight")


def test_the_outputs_channels_are_not_ours() -> None:
    build, make_input = ZOO["two_outputs"]
    result = plan_and_prune(build().eval(), Example.of(make_input()), Channel(4), 0.5)
    reasons = {skipped.name: skipped.reason for skipped in result.skipped}
    rows = {layer.name: (layer.shape[0], layer.pruned_shape[0]) for layer in result.layers}
    assert rows["features"] == (16, 16)
    assert "head" in reasons


def test_nothing_to_remove_is_said_and_not_silent() -> None:
    with pytest.raises(PruneError, match=r"No channel of this model can be removed.*model's output"):
        plan_and_prune(nn.Sequential(nn.Linear(8, 4)).eval(), Example.of(torch.randn(1, 8)), Channel(), 0.5)
    with pytest.raises(PruneError, match="leaves its 8 channels whole"):
        plan_and_prune(
            nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)).eval(),
            Example.of(torch.randn(1, 8)),
            Channel(8),
            0.5,
        )


def test_the_same_model_is_pruned_alike_each_time() -> None:
    build, make_input = ZOO["mobile"]
    model, x = build().eval(), make_input()
    first, second = (plan_and_prune(model, Example.of(x), Channel(4), 0.5).model for _ in range(2))
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("sparsity", [0.25, 0.5])
@pytest.mark.parametrize("multiple", [1, 8])
def test_a_gated_unit_loses_the_share_that_was_asked_for(sparsity: float, multiple: int) -> None:
    build, make_input = ZOO["gated"]
    result = plan_and_prune(build().eval(), Example.of(make_input()), Channel(multiple), sparsity)
    rows = {layer.name: layer.pruned_shape for layer in result.layers}
    left = round(32 * (1 - sparsity))
    assert rows == {"inner": (2 * left, 8), "out": (8, left)}


@pytest.mark.parametrize("tokens", [1, 6])
@pytest.mark.parametrize("silent", [True, False])
def test_what_the_output_cannot_show_is_not_taken_for_proof(tokens: int, silent: bool) -> None:
    """One token, or a branch that ends in zeros, lets torn heads pass unseen; the proof looks through both."""
    model, x = HiddenHeads(silent=silent).eval(), torch.randn(2, tokens, 8)
    pruned = plan_and_prune(model, Example.of(x), Channel(), 0.5).model
    for name in ("q", "k", "v"):  # each of the four heads stands in every row count that the code can view
        assert pruned.get_parameter(f"{name}.weight").shape[0] == 32


def test_equal_channels_ranked_together_lose_their_share_and_not_all() -> None:
    model = nn.Sequential(nn.Conv2d(4, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)
    result = plan_and_prune(model, Example.of(torch.randn(1, 4, 9, 9)), Channel(), 0.5, Method(allocation="global"))
    left = sum(result.model.get_parameter(f"{name}.weight").shape[0] for name in ("0", "2"))
    assert left in {16, 17}  # equal scores go to one layer, as rounding has it, and the other keeps its one


class HeadsAsProperty(Attention):
    @property
    def n_heads(self) -> int:
        return self.num_heads


class CastsByItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16).bfloat16(), nn.Linear(16, 8).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.b(torch.relu(self.a(x.bfloat16())))
        return y


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("build", "x"),
    [
        (lambda: nn.Sequential(nn.ConvTranspose2d(8, 16, 2, groups=2), nn.ReLU(), nn.Conv2d(16, 8, 3)), (2, 8, 4, 4)),
        (lambda: nn.Sequential(nn.Linear(8, 16), nn.utils.weight_norm(nn.Linear(16, 16)), nn.Linear(16, 8)), (2, 8)),
        (lambda: nn.Sequential(nn.Linear(8, 32), HeadsAsProperty(), nn.Linear(32, 8)), (2, 5, 8)),
        (CastsByItself, (2, 8)),
    ],
    ids=["grouped transposed", "legacy weight_norm", "heads as a property", "casts by itself"],
)
def test_what_the_library_stumbles_on_is_left_whole_or_refused_in_plain_words(
    build: Callable[[], nn.Module], x: tuple[int, ...]
) -> None:
    model = build().eval()
    with contextlib.suppress(PruneError):
        pruned = plan_and_prune(model, Example.of(torch.randn(x)), Channel(), 0.5).model
        assert total(pruned) < total(model)


def test_a_layer_with_a_computed_weight_is_told_of_like_any_other() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 4)).eval()
    result = plan_and_prune(model, Example.of(torch.randn(2, 8)), Channel(), 0.5)
    assert {layer.name: (layer.shape, layer.pruned_shape) for layer in result.layers} == {
        "0": ((16, 8), (8, 8)),
        "2": ((4, 16), (4, 8)),
    }
    assert not result.skipped


class Written(nn.Module):
    """A size that the code reads under a name that speaks of no channels, among others that it reads nowhere."""

    runs = 0

    def __init__(self, unread: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)
        self.window = 16
        for number in range(unread):
            setattr(self, f"stride_{number}", 16)

    def forward(self, x: Tensor) -> Tensor:
        type(self).runs += 1
        y: Tensor = self.second(self.first(x).reshape(-1, self.window))
        return y


def test_sizes_that_no_run_reads_are_not_tried() -> None:
    counts = []
    for unread in (1, 6):
        Written.runs = 0
        model = Written(unread)
        small = plan_and_prune(model, Example.of(torch.randn(3, 8)), Channel(), 0.5).model
        counts.append(Written.runs)
        assert small.get_parameter("first.weight").shape == (8, 8)
        assert (vars(small)["window"], model.window) == (8, 16)
        assert type(small) is type(model) is Written
    assert counts[0] == counts[1]
