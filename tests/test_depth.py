"""Whole residual blocks: which are found, which go, and that what is left computes what it should."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import hwprune, load
from jupyter_hwprune.choose.effort import QUICK, Effort
from jupyter_hwprune.core.errors import InputError, PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Depth, parse_pattern
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.depth import Blocks, Removed, Shortened
from jupyter_hwprune.pruning.depth.find import find_blocks
from jupyter_hwprune.pruning.graph.trace import trace
from jupyter_hwprune.pruning.method import Method

PROFILED = Effort(min_rounds=3, measure_s=0.2, profile_s=0.1)


class Layer(nn.Module):
    """A pre-norm layer of two branches, which knows its place."""

    def __init__(self, width: int, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx, self.first, self.second = layer_idx, nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.up, self.down = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mix(self.first(x))
        y: Tensor = x + self.down(torch.relu(self.up(self.second(x))))
        return y


class Stack(nn.Module):
    """Layers in a ModuleList, as many as its own count says."""

    def __init__(self, layers: int = 4, width: int = 16) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.layers, self.num_layers = nn.ModuleList(Layer(width, i) for i in range(layers)), layers

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i in range(self.num_layers):
            x = self.layers[i](x)
        y: Tensor = self.head(x)
        return y


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(inputs, outputs // 2, 1), nn.Conv2d(outputs // 2, outputs, 1)
        self.norm = nn.BatchNorm2d(outputs)
        self.short = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.expand(torch.relu(self.reduce(x))))
        y += self.short(x)
        return torch.relu_(y)


def resnet() -> nn.Module:
    stages = [
        nn.Sequential(Bottleneck(8, 16), Bottleneck(16, 16), Bottleneck(16, 16)),
        nn.Sequential(Bottleneck(16, 8)),
    ]
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


class Named(nn.Module):
    """Blocks in no list: each is an attribute, and one is called by its type of argument."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = Layer(8, 0), Layer(8, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.second(self.first(x)))
        return y


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)  # post-norm: the sums are normalised
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def shortened(model: nn.Module, x: Tensor, sparsity: float, dense: tuple[str, ...] = ()) -> Shortened:
    model.eval()
    example = Example.of(x)
    method = Method(calibration=Calibration.of(example, model, example), dense=dense)
    return Blocks.of(model, example, method).without(sparsity)


@pytest.mark.parametrize(
    ("model", "shape", "names"),
    [
        (Stack(3), (2, 5, 6), ["layers.0", "layers.1", "layers.2"]),
        (resnet(), (2, 3, 8, 8), ["2.1", "2.2"]),  # the others change the width
        (Named(), (2, 8), ["first", "second"]),
        (encoder(), (2, 5, 16), ["layers.0", "layers.1", "layers.2"]),
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), (2, 8), []),
    ],
    ids=["decoder", "bottlenecks", "attributes", "post-norm", "no residual"],
)
def test_blocks_are_known_by_what_they_compute(model: nn.Module, shape: tuple[int, ...], names: list[str]) -> None:
    model.eval()
    found = find_blocks(model, trace(model, Example.of(torch.randn(shape))))
    assert [block.name for block in found] == names


def test_what_is_left_is_the_dense_model_with_branches_that_add_nothing() -> None:
    model, x = Stack(4), torch.randn(2, 5, 6)
    found = shortened(model, x, 0.5)
    gone = [each.name for each in found.removed]
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for name in gone:
            for last in ("mix", "down"):
                for parameter in reference.get_submodule(f"{name}.{last}").parameters():
                    parameter.zero_()
        assert len(gone) == 2
        torch.testing.assert_close(found.model(x), reference(x))
    assert isinstance(found.model, Stack)
    assert (len(found.model.layers), found.model.num_layers) == (2, 2)
    assert [layer.layer_idx for layer in found.model.layers] == [0, 1]
    assert (len(model.layers), model.num_layers) == (4, 4)


def test_a_model_with_a_part_that_cannot_be_copied_loses_blocks_too() -> None:
    model: Any = Stack()
    model.lock = threading.Lock()
    found = shortened(model.eval(), torch.randn(2, 5, 6), 0.5)
    assert len(found.removed) == 2


def test_the_blocks_go_that_the_output_needs_least() -> None:
    model, x = Stack(4), torch.randn(2, 5, 6)
    with torch.no_grad():
        for name in ("layers.1.mix", "layers.1.down", "layers.3.mix", "layers.3.down"):
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(1e-3)
    found = shortened(model, x, 0.5)
    assert [each.name for each in found.removed] == ["layers.1", "layers.3"]
    assert max(found.losses["layers.1"], found.losses["layers.3"]) < 1e-4 < found.losses["layers.0"]
    assert [each.name for each in shortened(model, x, 0.5, ("layers.1",)).removed] != ["layers.1", "layers.3"]


def test_bottlenecks_leave_their_sequential_and_attributes_get_an_identity() -> None:
    images = shortened(resnet(), torch.randn(2, 3, 8, 8), 0.5)
    assert len(images.removed) == 1
    assert len(images.model.get_submodule("2")) == 2  # type: ignore[arg-type]
    named = shortened(Named(), torch.randn(2, 8), 0.5)
    (gone,) = named.removed
    assert gone == Removed(gone.name, listed=False)
    assert not list(named.model.get_submodule(gone.name).parameters())


def test_a_block_that_its_list_needs_is_replaced() -> None:
    class Fixed(Stack):
        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for i in (0, 1, 2, 3):
                x = self.layers[i](x)
            y: Tensor = self.head(x)
            return y

    found = shortened(Fixed(4), torch.randn(2, 5, 6), 0.25)
    assert [each.listed for each in found.removed] == [False]


@pytest.mark.parametrize(
    ("model", "sparsity", "said"),
    [
        (nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), 0.5, "this model has none"),
        (Stack(1), 0.5, "only one, layers.0"),
        (Stack(4), 0.1, "less than one. Give at least 0.25"),
    ],
)
def test_what_cannot_go_is_refused_with_the_reason(model: nn.Module, sparsity: float, said: str) -> None:
    with pytest.raises(PruneError, match=said):
        shortened(model, torch.randn(2, 5, 6), sparsity)


def test_a_run_reports_blocks_and_is_saved_and_loaded(tmp_path: Path) -> None:
    model, x = Stack(4), torch.randn(2, 5, 6)
    run = hwprune(model, x, target="cpu", toolchain="onnxruntime", pattern="depth", dense=["layers.3"], effort=QUICK)
    (row,) = run.report.layers
    assert run.report.request.sparsity == 0.25
    assert (row.kind, row.shape, row.pruned_shape, row.pruned_macs) == ("Layer", (1408,), (0,), 0)
    assert row.macs == 2 * 5 * (16 * 16 + 2 * 16 * 32)
    assert run.report.totals.weights - run.report.totals.pruned_weights == 1408
    assert {each.name for each in run.report.skipped} >= {"stem", "head"}
    assert any("1 of 4 residual blocks are removed" in said for said in run.report.reasons)
    with pytest.raises(InputError, match="removed whole blocks"):
        run.to_sparseml()
    run.save(tmp_path / "run")
    again = load(tmp_path / "run", model)
    with torch.no_grad():
        assert torch.equal(again.model.eval()(x), run.model.eval()(x))
    model.layers[3].eval()
    modes = {name: module.training for name, module in load(tmp_path / "run", model, "own").model.named_modules()}
    assert [name for name, on in modes.items() if name.count(".") == 1 and not on] == ["layers.2"]  # the last one
    with pytest.raises(InputError, match="it has no layers"):
        load(tmp_path / "run", nn.Linear(2, 2))


def test_channels_go_after_blocks_and_layers_keep_their_dense_names(tmp_path: Path) -> None:
    model, x = Stack(4), torch.randn(2, 5, 6)
    with torch.no_grad():
        for name in ("layers.0.mix", "layers.0.down"):
            for parameter in model.get_submodule(name).parameters():
                parameter.mul_(1e-3)
    asked: dict[str, Any] = {"pattern": "depth+channel/4", "sparsity": 0.25, "dense": ["layers.1.up"]}
    run = hwprune(model, x, target="cpu", toolchain="onnxruntime", **asked, effort=PROFILED)
    rows = {layer.name: layer for layer in run.report.layers}
    assert rows["layers.0"].pattern == "depth"
    assert (rows["layers.2.up"].shape, rows["layers.2.up"].pruned_shape) == ((32, 16), (24, 12))
    assert rows["layers.2.up"].pattern == "channel/4"
    assert rows["layers.1.up"].pruned_shape == (32, 12)
    assert not [name for name in rows if name.startswith("layers.0.")]
    assert run.model.get_parameter("layers.1.up.weight").shape == (24, 12)  # that of layers.2 before
    assert all(rows[f"layers.{i}.up"].kernel and rows[f"layers.{i}.up"].pruned_kernel for i in (1, 2, 3))
    run.save(tmp_path / "run")
    with torch.no_grad():
        assert torch.equal(load(tmp_path / "run", model).model.eval()(x), run.model.eval()(x))


def test_blocks_go_before_a_fine_tune_step_and_options_that_do_not_fit_are_refused() -> None:
    model, x = Stack(2), torch.randn(2, 5, 6)
    asked = {"target": "cpu", "toolchain": "onnxruntime", "pattern": "depth", "effort": QUICK}
    seen: list[int] = []
    run = hwprune(model, x, **asked, sparsity=0.5, finetune=lambda net: seen.append(len(net.layers)))  # type: ignore[arg-type]
    assert seen == [1]
    assert len(run.report.layers) == 1
    with pytest.raises(InputError, match="in one step"):
        hwprune(model, x, **asked, finetune=lambda _: None, schedule="cubic", steps=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="--importance taylor ranks"):
        hwprune(model, x, **asked, importance="taylor")  # type: ignore[arg-type]
    assert parse_pattern("depth") == Depth()
