"""Layers are known by what they compute: rows, MACs, masks and cuts of every kind of weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import parse_pattern
from jupyter_hwprune.pruning import Pruned, plan_and_prune
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.method import Method
from jupyter_hwprune.pruning.served import Served

VOLUME = torch.randn(2, 8, 4, 5, 6)
VOLUMES: dict[str, tuple[nn.Module, int]] = {  # with the MACs of one pass over VOLUME
    "conv3d": (nn.Conv3d(8, 16, 3, padding=1), 2 * 16 * 4 * 5 * 6 * 8 * 27),
    "grouped3d": (nn.Conv3d(8, 16, 3, padding=1, groups=2), 2 * 16 * 4 * 5 * 6 * 4 * 27),
    "transposed3d": (nn.ConvTranspose3d(8, 16, 2, stride=2), 2 * 8 * 4 * 5 * 6 * 16 * 8),
    "transposed3d_grouped": (nn.ConvTranspose3d(8, 16, 2, stride=2, groups=2), 2 * 8 * 4 * 5 * 6 * 8 * 8),
}


def pruned(model: nn.Module, x: torch.Tensor, pattern: str, importance: str = "magnitude") -> Pruned:
    calibration = None if importance == "magnitude" else Calibration((Example.of(x),), None)
    method = Method(importance=importance, calibration=calibration)  # type: ignore[arg-type]
    return plan_and_prune(model.eval(), Example.of(x), parse_pattern(pattern), 0.5, method)


@pytest.mark.parametrize("importance", ["magnitude", "activation", "second-order"])
@pytest.mark.parametrize("kind", VOLUMES)
def test_convolutions_of_volumes_hold_n_of_m_along_their_inputs(kind: str, importance: str) -> None:
    layer, macs = VOLUMES[kind]
    result = pruned(nn.Sequential(layer), VOLUME, "2:4", importance)
    [row] = result.layers
    assert (row.kind, row.macs, row.pruned_macs, row.valid) == (type(layer).__name__, macs, macs // 2, True)
    weight = result.model.get_parameter("0.weight").detach()
    groups: int = layer.groups  # type: ignore[assignment]
    if "transposed" in kind:  # [C, K/g, ..]: the inputs of a group stand next to each other in the first dimension
        fours = weight.reshape(groups, -1, 4, *weight.shape[1:]).movedim(2, -1)
    else:
        fours = weight.reshape(len(weight), -1, 4, 27).movedim(2, -1)
    assert ((fours != 0).sum(-1) == 2).all()


def test_a_network_of_volumes_loses_channels_with_a_row_for_every_layer() -> None:
    model = nn.Sequential(nn.Conv3d(8, 16, 3), nn.ReLU(), nn.ConvTranspose3d(16, 16, 2), nn.ReLU(), nn.Conv3d(16, 4, 1))
    result = pruned(model, VOLUME, "channel")
    shapes = {row.name: row.pruned_shape for row in result.layers}
    assert shapes == {"0": (8, 8, 3, 3, 3), "2": (8, 8, 2, 2, 2), "4": (4, 8, 1, 1, 1)}
    assert all(row.macs and row.pruned_macs and row.pruned_macs < row.macs for row in result.layers)
    assert not result.skipped
    assert "Conv3d(8, 8" in repr(result.model)


class InputsFirst(nn.Module):
    """A product with its weight as it stands, [inputs, outputs], as transformers' Conv1D computes it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x.flatten(0, -2), self.weight).view(*x.shape[:-1], -1)


def twins() -> tuple[nn.Module, nn.Module]:
    """The same network of torch's Linear layers, and of their like with inputs first."""
    theirs = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))
    ours = nn.Sequential(InputsFirst(16, 24), nn.ReLU(), InputsFirst(24, 8))
    with torch.no_grad():
        for name in ("0", "2"):
            ours.get_parameter(f"{name}.weight").copy_(theirs.get_parameter(f"{name}.weight").T)
            ours.get_parameter(f"{name}.bias").copy_(theirs.get_parameter(f"{name}.bias"))
    return theirs, ours


@pytest.mark.parametrize("importance", ["magnitude", "activation", "second-order"])
@pytest.mark.parametrize("pattern", ["2:4", "4x8", "unstructured"])
def test_a_product_with_inputs_first_is_pruned_as_a_linear_is(pattern: str, importance: str) -> None:
    x = torch.randn(5, 3, 16)
    theirs, ours = (pruned(model, x, pattern, importance) for model in twins())
    for name in ("0", "2"):
        linear, own = (result.model.get_parameter(f"{name}.weight") for result in (theirs, ours))
        assert torch.equal(linear, own.T)
    assert [row.kind for row in ours.layers] == ["InputsFirst", "InputsFirst"]
    assert [(row.macs, row.picture, row.valid) for row in ours.layers] == [
        (row.macs, row.picture, row.valid) for row in theirs.layers
    ]
    assert ours.totals == theirs.totals


def test_kernels_for_matrices_serve_a_product_with_inputs_first() -> None:
    x = torch.randn(4, 64)
    choice = choose("ampere", pattern="2:4", dtype="float16", toolchain="cusparselt")
    dense = nn.Sequential(InputsFirst(64, 128))
    result = plan_and_prune(dense, Example.of(x), parse_pattern("2:4"), 0.5, served=Served.of(choice))
    [row] = result.layers
    assert "cusparselt" in (row.served_by or ())
    assert (row.shape, row.valid) == ((64, 128), True)


class Experts(nn.Module):
    """Four experts in one parameter each way, [E, inputs, outputs] and [E, outputs, inputs], and a bare matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(4, 16, 24)), nn.Parameter(torch.randn(4, 8, 24))
        self.mix, self.shift = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(4, 1, 24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(torch.einsum("bc,ech->ebh", x, self.up) + self.shift)
        made = [functional.linear(own, down) for own, down in zip(hidden, self.down, strict=True)]
        return functional.linear(torch.stack(made).sum(0), self.mix)


def test_every_expert_holds_n_of_m_along_the_axis_it_is_summed_over() -> None:
    result = pruned(Experts(), torch.randn(5, 16), "2:4")
    up, down, mix = (result.model.get_parameter(name) for name in ("up", "down", "mix"))
    assert ((up.reshape(4, 4, 4, 24) != 0).sum(2) == 2).all()
    assert ((down.reshape(4, 8, 6, 4) != 0).sum(3) == 2).all()
    assert ((mix.reshape(8, 2, 4) != 0).sum(2) == 2).all()
    assert {row.name: (row.kind, row.macs) for row in result.layers} == {
        "up": ("Experts", 4 * 5 * 16 * 24),
        "down": ("Experts", 4 * 5 * 24 * 8),
        "mix": ("Experts", 5 * 8 * 8),
    }
    assert {row.name: row.reason for row in result.skipped} == {
        "shift": "add takes it, which is neither a product nor a convolution"
    }


def test_blocks_never_straddle_two_experts() -> None:
    with pytest.raises(PruneError, match="blocks of 16x8 do not divide its 24 output by 16 input channels"):
        pruned(Experts(), torch.randn(5, 16), "16x8")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rows = nn.Embedding(20, 16), nn.LSTM(16, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.rows(self.embed(ids))[0])
        return y


IDS = torch.randint(0, 20, (3, 7))
MATRICES = [f"rows.weight_{which}_l0{way}" for way in ("", "_reverse") for which in ("ih", "hh")]


def test_recurrent_matrices_hold_n_of_m_with_a_row_each() -> None:
    result = pruned(Recurrent(), IDS, "2:4")
    assert [row.name for row in result.layers] == [*MATRICES, "head"]
    sizes = {name: result.model.get_parameter(name).numel() for name in MATRICES}
    assert {row.name: row.macs for row in result.layers[:4]} == {name: 3 * 7 * size for name, size in sizes.items()}
    for name in MATRICES:
        assert ((result.model.get_parameter(name).reshape(-1, 4) != 0).sum(1) == 2).all()
    assert [row.name for row in result.skipped] == ["embed"]


def test_all_that_a_channel_cut_shrinks_has_a_row() -> None:
    result = pruned(Recurrent(), IDS, "channel/4")
    rows = {row.name: row.pruned_shape for row in result.layers}
    assert rows["embed"] == (20, 8)
    assert rows[MATRICES[0]] == (48, 8)
    assert not {row.name for row in result.skipped} & rows.keys()
    assert {row.name: row.macs for row in result.layers}["embed"] is None  # it multiplies nothing
    lstm = next(row for row in result.layers if row.name == MATRICES[0])
    assert (lstm.macs, lstm.pruned_macs) == (3 * 7 * 96 * 16, 3 * 7 * 48 * 8)
    assert "LSTM(8, 12" in repr(result.model)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_layer_under_an_old_hook_shows_its_new_widths() -> None:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 16, 3)), nn.ReLU(), nn.Conv2d(16, 4, 1))
    result = pruned(model, torch.randn(1, 3, 8, 8), "channel")
    assert {row.name: row.pruned_shape for row in result.layers} == {"0": (8, 3, 3, 3), "2": (4, 8, 1, 1)}
    assert "Conv2d(3, 8, " in repr(result.model)
