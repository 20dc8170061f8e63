"""The ONNX file that is written: the fastest form of a network, the same function, each kernel its layer's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import onnxslim
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export.onnx import Exported, export_onnx
from tests.networks import ZOO, cnn, images

PROFILED = replace(QUICK, profile=True)


class Pitch(nn.Module):
    """A pitch tracker over `samples` at width 1: each convolution after a padding of its own, then ReLU, BatchNorm."""

    def __init__(self, samples: int = 128, taps: int = 16) -> None:
        super().__init__()
        self.padding = (0, 0, taps // 2 - 1, taps // 2)
        self.first, self.second, self.third = (nn.Conv2d(a, b, (taps, 1)) for a, b in ((1, 32), (32, 32), (32, 64)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (32, 32, 64))
        self.head = nn.Linear(64 * (samples // 8), 20)

    def forward(self, x: Tensor) -> Tensor:  # [N, samples]
        x = x[:, None, :, None]
        for conv, norm in zip((self.first, self.second, self.third), self.norms, strict=True):
            x = functional.max_pool2d(norm(functional.relu(conv(functional.pad(x, self.padding)))), (2, 1))
        y: Tensor = self.head(x.flatten(1))
        return y


class Same(nn.Module):
    """Padded by hand, and one more at the end, as TensorFlow pads."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, width, 3, 2), nn.BatchNorm2d(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(functional.relu(self.norm(self.conv(functional.pad(x, (0, 1, 0, 1))))).mean((2, 3)))
        return y


class Masked(nn.Module):
    """Attention under a mask of truth values, which torch's exporter guards against rows of infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(q, k, v, mask[:, None, None, :])
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class OwnGuard(nn.Module):
    """Attention that means what its guard does: a row without any key gives zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = (self.q(x) @ self.k(x).transpose(1, 2)).masked_fill(~mask[:, None, :], float("-inf")).softmax(-1)
        return torch.where(scores.isnan(), torch.zeros(()), scores) @ x


def exported(model: nn.Module, folder: Path, *inputs: Tensor) -> Exported:
    """Write the file, and check that ONNX Runtime computes from it what torch computes."""
    done = export_onnx(model.eval(), Example.of(inputs), folder, "m")
    session = onnxruntime.InferenceSession(done.model, providers=["CPUExecutionProvider"])
    feed = {port.name: value.numpy() for port, value in zip(session.get_inputs(), inputs, strict=True)}
    with torch.no_grad():
        expected = model(*inputs)
    torch.testing.assert_close(torch.from_numpy(session.run(None, feed)[0]), expected, rtol=1e-4, atol=1e-5)
    return done


def nodes_of(path: Path) -> list[Any]:
    return list(onnx.load(str(path)).graph.node)


def weighted_in(case: Exported) -> set[str]:
    return {layer for taken in case.layers.values() for layer in taken}


def counts(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in nodes_of(path))


def pads_of(path: Path) -> list[list[int]]:
    return [
        list(attribute.ints)
        for node in nodes_of(path)
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "pads"
    ]


def test_padding_by_hand_ends_in_the_convolution(tmp_path: Path) -> None:
    path = exported(Same(), tmp_path, images()).model
    assert counts(path)["Pad"] == 0
    assert counts(path)["BatchNormalization"] == 0
    assert pads_of(path) == [[0, 0, 1, 1]]


def test_padding_along_a_line_stands_before_the_convolution_and_names_its_axes(tmp_path: Path) -> None:
    path = exported(Pitch(), tmp_path, torch.randn(2, 128)).model
    assert pads_of(path) == [[0, 0, 0, 0]] * 3
    pads = [node for node in nodes_of(path) if node.op_type == "Pad"]
    assert [len(node.input) for node in pads] == [4, 4, 4]  # ONNX Runtime folds a Pad that names no axes


def test_a_padded_layer_is_computed_as_written_in_a_channel_pruned_model_and_has_its_kernel() -> None:
    run = hwprune(
        Pitch(), torch.randn(2, 128), target="cpu", toolchain="onnxruntime", pattern="channel/8", effort=PROFILED
    )
    assert counts(run.artifacts["onnx"])["Pad"] == 3
    layers = {layer.name: layer for layer in run.report.layers}
    assert {name for name, layer in layers.items() if layer.kernel} == {"first", "second", "third", "head"}
    assert run.report.check is not None
    assert max(run.report.check.dense_error, run.report.check.pruned_error) < 1e-4


def test_padding_stays_in_a_convolution_whose_taps_mostly_read_it(tmp_path: Path) -> None:
    # of 16 taps over 16, 8 and 4 samples about 3/4, 1/2 and 1/4 read no padding: the last is cheaper in its place
    path = exported(Pitch(samples=16), tmp_path, torch.randn(2, 16)).model
    assert counts(path)["Pad"] == 2
    assert pads_of(path)[-1] == [7, 0, 8, 0]


def test_a_padded_convolution_over_an_image_is_left_alone(tmp_path: Path) -> None:
    path = exported(cnn(), tmp_path, images()).model
    assert counts(path)["Pad"] == 0
    assert pads_of(path) == [[1, 1, 1, 1]] * 2


def test_a_mask_of_finite_numbers_has_no_guard(tmp_path: Path) -> None:
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    done = exported(Masked(), tmp_path, torch.randn(2, 6, 16), mask)
    assert counts(done.model)["IsNaN"] == 0
    assert weighted_in(done) == {"qkv", "out"}


def test_the_keys_of_attention_are_transposed_where_they_are_read(tmp_path: Path) -> None:
    build, make_input = ZOO["transformer"]
    path = exported(build(), tmp_path, make_input()).model
    nodes = nodes_of(path)
    makers = {value: node for node in nodes for value in node.output}
    softmax = next(node for node in nodes if node.op_type == "Softmax")
    keys = makers[makers[softmax.input[0]].input[1]]
    while keys.op_type == "Mul":
        keys = makers[keys.input[0]]
    assert keys.op_type == "Transpose"  # a reshape here would hide it from the product
    assert list(keys.attribute[0].ints)[1:] == [2, 3, 1]


def test_a_guard_that_the_model_needs_stays(tmp_path: Path) -> None:
    mask = torch.tensor([[True] * 6, [False] * 6])
    assert counts(exported(OwnGuard(), tmp_path, torch.randn(2, 6, 8), mask).model)["IsNaN"] == 1


class Grid(nn.Module):
    """Holds an operator that the converter has to decompose, beside a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        rows, columns = torch.meshgrid(y[0, 0, :, 0], y[0, 0, 0], indexing="ij")
        return y + rows * columns


def pooled() -> nn.Module:
    """A network whose composed operators are told by shapes alone."""
    features = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Dropout(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(8, 5))


@pytest.mark.parametrize(("model", "traces"), [(pooled, 0), (Grid, 1)])
def test_a_program_is_traced_anew_only_to_decompose_operators(
    model: Callable[[], nn.Module], traces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = []
    decompose: Callable[..., ExportedProgram] = ExportedProgram.run_decompositions

    def counted(own: ExportedProgram, *given: Any) -> ExportedProgram:
        traced.append(own)
        return decompose(own, *given)

    monkeypatch.setattr(ExportedProgram, "run_decompositions", counted)
    torch.manual_seed(3)  # a model of this test's own: one that was exported before is not converted again
    own, x = model().eval(), images()
    example = Example.of(x)
    case = export_onnx(own, example, tmp_path, "model")
    session = onnxruntime.InferenceSession(str(case.model))
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), example.outputs(own)[0], rtol=1e-4, atol=1e-4)
    assert len(traced) == traces


class Mixture(nn.Module):
    """Attention with its three projections in one matrix, and experts that an einsum multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.experts = nn.Parameter(torch.randn(4, 16, 32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btc,ecf->btf", self.attention(x, x, x)[0], self.experts)


def test_the_products_of_experts_and_of_packed_projections_belong_to_their_rows(tmp_path: Path) -> None:
    case = export_onnx(Mixture().eval(), Example.of(torch.randn(1, 6, 16)), tmp_path, "model")
    assert weighted_in(case) == {"attention.in_proj_weight", "attention.out_proj", "experts"}


class Recurrences(nn.Module):
    """Recurrent layers in three forms: with a node of their own, unrolled into products, and as single steps."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True)
        self.gated, self.plain = nn.GRU(32, 24, batch_first=True), nn.RNN(24, 24, batch_first=True)
        self.step, self.head = nn.LSTMCell(24, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:  # [N, T, 8]
        seen = self.plain(self.gated(self.long(x)[0])[0])[0]
        y: Tensor = self.head(self.step(seen[:, -1], self.step(seen[:, -2]))[0])
        return y


@pytest.mark.parametrize("toolchain", ["onnxruntime", "openvino"])
def test_each_matrix_of_a_recurrent_layer_has_the_kernel_that_multiplies_by_it(toolchain: str) -> None:
    model, x = Recurrences().eval(), torch.randn(2, 3, 8)
    run = hwprune(model, x, target="cpu", toolchain=toolchain, pattern="unstructured", sparsity=0.5, effort=PROFILED)
    rows = {layer.name: layer for layer in run.report.layers}
    matrices = {name: p for name, p in model.named_parameters() if p.ndim == 2 and name != "head.weight"}
    assert set(rows) == {*matrices, "head"}
    kinds = {rows[f"{module}.weight_ih_l0"].kernel for module in ("long", "gated")}
    assert kinds == {"LSTM", "GRU"} if toolchain == "onnxruntime" else len(kinds) == 1  # not that of joining directions
    for name, parameter in matrices.items():
        steps = 2 * (2 if name.startswith("step") else 3)
        assert rows[name].macs == steps * parameter.numel()
        assert rows[name].kernel, name
        first = re.sub(r"weight_\w\w_l(\d)(_reverse)?", r"weight_ih_l\1", name)
        if name.startswith(("long", "gated")) and name != first:  # one kernel computes all matrices of a layer
            assert rows[name].kernel == f"{rows[first].kernel}, together with {first}"
        else:
            assert "together" not in str(rows[name].kernel)


@pytest.mark.parametrize("fault", ["raises", "drops an input", "makes no sense"])
def test_a_graph_that_cannot_be_simplified_is_written_as_torch_made_it(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slim(model: Any, **options: Any) -> Any:
        if fault == "raises":
            raise RuntimeError("an operator that it does not know")
        if fault == "drops an input":
            del model.graph.input[:]
        else:
            del model.graph.node[0]
        return model

    monkeypatch.setattr(onnxslim, "slim", slim)
    done = exported(Pitch(), tmp_path, torch.randn(2, 128))
    assert counts(done.model)["Conv"] == 3
    assert weighted_in(done) == {"first", "second", "third", "head"}


@pytest.mark.parametrize("name", ["transformer", "torch_encoder", "recurrent", "gated", "mobile", "unet"])
def test_every_layer_keeps_a_node_of_its_own(name: str, tmp_path: Path) -> None:
    build, make_input = ZOO[name]
    model = build()
    done = exported(model, tmp_path, make_input())
    weighted = {
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding)
    }
    assert weighted <= weighted_in(done)
    assert all(node.name in done.nodes.values() for node in nodes_of(done.model))
