"""Patterns in the weights of real layers, recounted from the pruned copy itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import parse_pattern
from jupyter_hwprune.pruning import Pruned, plan_and_prune
from jupyter_hwprune.pruning.method import Method
from tests.conftest import fingerprint

IMAGE = torch.randn(1, 8, 8, 8)
LAYERS: dict[str, tuple[nn.Module, torch.Tensor]] = {
    "linear": (nn.Linear(32, 16), torch.randn(2, 32)),
    "conv1d": (nn.Conv1d(8, 16, 3), torch.randn(1, 8, 9)),
    "conv2d": (nn.Conv2d(8, 16, 3), IMAGE),
    "grouped": (nn.Conv2d(8, 16, 3, groups=2), IMAGE),
    "transposed1d": (nn.ConvTranspose1d(8, 16, 3), torch.randn(1, 8, 9)),
    "transposed2d": (nn.ConvTranspose2d(8, 16, 3), IMAGE),
    "transposed_grouped": (nn.ConvTranspose2d(8, 16, 3, groups=2), IMAGE),
}


def pruned(model: nn.Module, x: torch.Tensor, pattern: str, sparsity: float, allocation: str = "uniform") -> Pruned:
    assert allocation in {"uniform", "global"}
    method = Method(allocation=allocation)  # type: ignore[arg-type]
    return plan_and_prune(model.eval(), Example.of(x), parse_pattern(pattern), sparsity, method)


def input_groups(layer: nn.Module, weight: torch.Tensor, m: int) -> torch.Tensor:
    """Gather the weights of m neighbouring input channels, for each output and tap. -> [.., m]."""
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
        c, k = weight.shape[0] // groups, weight.shape[1]
        return weight.reshape(groups, c // m, m, k, -1).movedim(2, -1).reshape(-1, m)
    return weight.reshape(weight.shape[0], weight.shape[1] // m, m, -1).movedim(2, -1).reshape(-1, m)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "1:2"])
def test_n_of_m_holds_along_the_input_channels(kind: str, pattern: str) -> None:
    layer, x = LAYERS[kind]
    before = fingerprint(layer.eval())
    result = pruned(nn.Sequential(layer), x, pattern, 0.5)
    n, m = map(int, pattern.split(":"))
    weight = result.model[0].weight  # type: ignore[index]
    groups = input_groups(layer, weight.detach(), m)
    assert ((groups != 0).sum(1) == n).all()
    dropped = groups == 0
    original = input_groups(layer, layer.weight.detach(), m)  # type: ignore[operator]
    assert (
        original.abs().masked_fill(dropped, float("inf")).amin(1) >= original.abs().masked_fill(~dropped, 0).amax(1)
    ).all()
    assert not torch.signbit(weight[weight == 0]).any()
    [described] = result.layers
    assert described.valid
    assert described.sparsity == pytest.approx(1 - n / m)
    assert fingerprint(layer) == before


@pytest.mark.parametrize("kind", LAYERS)
def test_unstructured_removes_the_exact_count_of_the_smallest(kind: str) -> None:
    layer, x = LAYERS[kind]
    weight = pruned(nn.Sequential(layer), x, "unstructured", 0.7).model[0].weight  # type: ignore[index]
    count = round(0.3 * weight.numel())
    assert int(weight.count_nonzero()) == count
    original: torch.Tensor = layer.weight  # type: ignore[assignment]
    assert weight[weight != 0].abs().min() >= original.abs().flatten().sort(descending=True).values[count - 1]


@pytest.mark.parametrize("kind", ["linear", "conv2d", "transposed2d"])
def test_blocks_go_whole(kind: str) -> None:
    layer, x = LAYERS[kind]
    weight = pruned(nn.Sequential(layer), x, "4x4", 0.5).model[0].weight.detach()  # type: ignore[index]
    if "transposed" in kind:
        weight = weight.transpose(0, 1)
    k, c = weight.shape[:2]
    blocks = (weight.reshape(k // 4, 4, c // 4, 4, -1) != 0).float().mean(dim=(1, 3))
    assert set(blocks.flatten().tolist()) == {0.0, 1.0}
    assert float(blocks.mean()) == 0.5


def test_global_allocation_takes_from_the_layer_with_the_smaller_weights() -> None:
    small, large = nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
    with torch.no_grad():
        small.weight.mul_(0.01)
    model = nn.Sequential(small, large)
    x = torch.randn(1, 16)
    uniform = pruned(model, x, "unstructured", 0.5)
    together = pruned(model, x, "unstructured", 0.5, "global")
    assert [layer.sparsity for layer in uniform.layers] == [0.5, 0.5]
    assert [layer.sparsity for layer in together.layers] == pytest.approx([1.0, 0.0], abs=0.02)
    assert uniform.totals.pruned_weights == together.totals.pruned_weights == 256


def test_layers_that_do_not_fit_are_listed_with_the_reason() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 10, 3))
    result = pruned(model, torch.randn(1, 3, 9, 9), "2:4", 0.5)
    assert [layer.name for layer in result.layers] == ["2"]
    assert {skipped.name: skipped.reason for skipped in result.skipped} == {
        "0": "2:4 needs input channels in multiples of 4, and it has 3 a group",
        "1": "2:4 needs input channels in multiples of 4, and it has 1 a group",
    }


def test_modules_that_are_no_layer_of_ours_are_listed_too() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.lstm = nn.Embedding(9, 8), nn.LSTM(8, 8)
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
            self.plain = nn.Linear(8, 8)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.plain(self.normed(self.lstm(self.embed(ids))[0]))
            return y

    result = pruned(Net(), torch.randint(0, 9, (3, 2)), "2:4", 0.5)
    assert [layer.name for layer in result.layers] == ["lstm.weight_ih_l0", "lstm.weight_hh_l0", "plain"]
    reasons = {skipped.name: skipped.reason for skipped in result.skipped}
    assert set(reasons) == {"embed", "normed"}
    assert "parametrization" in reasons["normed"]
    assert "Embedding reads rows by their numbers" in reasons["embed"]


def test_a_shared_weight_is_pruned_once() -> None:
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    result = pruned(nn.Sequential(first, second), torch.randn(1, 8), "2:4", 0.5)
    assert [layer.name for layer in result.layers] == ["0"]
    assert "shares its weight with 0" in result.skipped[0].reason
    assert result.model[0].weight is result.model[1].weight  # type: ignore[index]


def test_a_model_without_a_fitting_layer_is_refused() -> None:
    with pytest.raises(PruneError, match="No layer of this model fits the pattern 2:4"):
        pruned(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 8, 8), "2:4", 0.5)


def test_macs_are_counted_for_what_really_runs() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten(), nn.Linear(400, 10)
    )
    totals = pruned(model, torch.randn(1, 4, 5, 5), "unstructured", 0.5).totals
    assert totals.macs == 25 * 8 * 4 * 9 + 25 * 8 * 4 * 4 + 400 * 10
    assert totals.pruned_macs == totals.macs // 2


@pytest.mark.parametrize(("pattern", "sparsity"), [("128x128", 0.75), ("unstructured", 0.9999999)])
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_no_layer_is_emptied_whole(pattern: str, sparsity: float, allocation: str) -> None:
    model = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 256))
    result = pruned(model, torch.randn(2, 128), pattern, sparsity, allocation)
    for name, parameter in result.model.named_parameters():
        assert parameter.any(), name
    assert all(layer.valid for layer in result.layers)


def test_a_layer_that_loses_nothing_is_not_called_pruned() -> None:
    result = pruned(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8)), torch.randn(2, 4), "4x4", 0.5)
    assert [layer.name for layer in result.layers] == ["1"]
    assert [(skipped.name, skipped.reason) for skipped in result.skipped] == [("0", "4x4 at 50% removes nothing of it")]


def test_zeros_that_were_there_before_do_not_spoil_the_blocks() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(1.0)[0, 0] = 0
    [layer] = pruned(model, torch.randn(2, 8), "4x4", 0.5).layers
    assert layer.valid


def test_a_weight_that_an_embedding_shares_stays_dense() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.mid, self.head = nn.Embedding(12, 8), nn.Linear(8, 8), nn.Linear(8, 12, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.head(self.mid(self.tokens(ids)))
            return y

    result = pruned(Tied(), torch.randint(0, 12, (1, 3)), "2:4", 0.5)
    assert [layer.name for layer in result.layers] == ["mid"]
    reasons = {skipped.name: skipped.reason for skipped in result.skipped}
    assert reasons["head"] == "it shares its weight with tokens, which stays dense"
    assert result.model.get_parameter("tokens.weight").all()


def test_zeros_that_were_there_before_are_not_counted_as_removed() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        model.get_parameter("0.weight")[:4] = 0
    totals = pruned(model, torch.randn(2, 8), "unstructured", 0.25).totals
    assert (totals.weights, totals.pruned_weights) == (64, 64)
