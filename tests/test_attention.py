"""Our attention computes what torch's does, whatever it is given; and heads go from models that hold torch's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import MultiheadAttention, hwprune, load
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.export.onnx import export_onnx
from jupyter_hwprune.keep.saved.structure import cut, misfits, structure_of
from jupyter_hwprune.pruning import Pruned, plan_and_prune
from jupyter_hwprune.pruning.attention import replaceable, with_own_attention
from jupyter_hwprune.pruning.equivalence import relative_difference
from jupyter_hwprune.pruning.macs import count_macs
from jupyter_hwprune.pruning.method import Method

T, S, B, E, H = 5, 7, 3, 16, 4


def drawn(**options: Any) -> nn.MultiheadAttention:
    made = nn.MultiheadAttention(E, H, **options).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def same(a: tuple[Tensor, Tensor | None], b: tuple[Tensor, Tensor | None]) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


MASKS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "none": dict,
    "added": lambda: {"attn_mask": torch.randn(T, S)},
    "boolean": lambda: {"attn_mask": torch.ones(T, S, dtype=torch.bool).triu(3)},
    "by head": lambda: {"attn_mask": torch.randn(B * H, T, S)},
    "padding": lambda: {"key_padding_mask": torch.arange(S) > torch.tensor([[3], [6], [5]])},
    "both": lambda: {"key_padding_mask": torch.randn(B, S), "attn_mask": torch.randn(T, S)},
    "causal": lambda: {"attn_mask": nn.Transformer.generate_square_subsequent_mask(S)[:T], "is_causal": True},  # type: ignore[dict-item]
}


@pytest.mark.parametrize("asked", [{}, {"need_weights": False}, {"average_attn_weights": False}], ids=str)
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 6, "vdim": 10}, {"batch_first": True}], ids=str)
@pytest.mark.parametrize("mask", MASKS)
def test_it_computes_what_torch_does(mask: str, options: dict[str, Any], asked: dict[str, Any]) -> None:
    theirs = drawn(**options)
    ours = MultiheadAttention.of(theirs)
    query, key, value = (torch.randn(n, B, w) for n, w in ((T, E), (S, theirs.kdim), (S, theirs.vdim)))
    if theirs.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    given = MASKS[mask]()
    same(ours(query, key, value, **given, **asked), theirs(query, key, value, **given, **asked))


@pytest.mark.parametrize("batch_first", [False, True])
def test_one_sequence_without_a_batch_and_attention_to_itself(batch_first: bool) -> None:
    theirs = drawn(batch_first=batch_first)
    ours, x = MultiheadAttention.of(theirs), torch.randn(T, E)
    padding = torch.arange(T) > 3
    same(ours(x, x, x), theirs(x, x, x))
    same(ours(x, x, x, key_padding_mask=padding), theirs(x, x, x, key_padding_mask=padding))
    x = torch.randn(B, B, E)
    same(ours(x, x, x), theirs(x, x, x))


def test_it_shares_parameters_and_reads_the_state_of_torch_s() -> None:
    theirs = drawn()
    assert {k: id(p) for k, p in MultiheadAttention.of(theirs).named_parameters()} == {
        k: id(p) for k, p in theirs.named_parameters()
    }
    fresh = MultiheadAttention(E, H)
    fresh.load_state_dict(theirs.state_dict())
    x = torch.randn(T, B, E)
    same(fresh(x, x, x), theirs(x, x, x))


def test_fewer_heads_than_the_width_has_room_for_train() -> None:
    ours, x = MultiheadAttention(E, 2, 4, dropout=0.1, batch_first=True), torch.randn(B, T, E)
    out, weights = ours(x, x, x, average_attn_weights=False)
    assert weights is not None
    assert (out.shape, weights.shape) == ((B, T, E), (B, 2, T, T))
    out.sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_a_causal_hint_needs_its_mask() -> None:
    x = torch.randn(T, B, E)
    with pytest.raises(RuntimeError, match="give that mask too"):
        MultiheadAttention(E, H)(x, x, x, is_causal=True)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.embed, self.encoder, self.head = nn.Linear(8, 32), nn.TransformerEncoder(layer, 2), nn.Linear(32, 5)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        y: Tensor = self.head(self.encoder(self.embed(x), src_key_padding_mask=padding).mean(1))
        return y


def halved(model: nn.Module, x: Tensor, **options: Any) -> Pruned:
    return plan_and_prune(model.eval(), Example.of(x), Channel(), 0.5, Method(**options))


def test_heads_of_torch_s_encoder_layers_go_and_a_remark_says_so() -> None:
    x = torch.randn(2, 6, 8)
    pruned = halved(Encoder(), x)
    layers: Any = pruned.model.get_submodule("encoder.layers")
    attention = layers[0].self_attn
    assert type(attention) is MultiheadAttention
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (16, 2, 8)
    assert attention.in_proj_weight is not None
    assert attention.in_proj_weight.shape == (48, 16)
    remark = " ".join(pruned.remarks)
    assert "2 modules became jupyter_hwprune.MultiheadAttention" in remark
    assert "encoder.layers.0.self_attn, encoder.layers.1.self_attn" in remark
    rows = {layer.name: layer for layer in pruned.layers}
    assert rows["encoder.layers.0.self_attn.out_proj"].pruned_shape == (16, 16)


def test_macs_of_our_attention_are_those_of_torch_s_and_fall_with_the_heads() -> None:
    x = torch.randn(2, 6, 8)
    model = Encoder().eval()
    pruned = halved(model, x)
    macs, left = (count_macs(each, Example.of(x)) for each in (model, pruned.model))
    assert count_macs(with_own_attention(model), Example.of(x)) == macs
    own = "encoder.layers.0.self_attn.in_proj_weight"
    assert left[own] == macs[own] // 4


def test_a_smaller_encoder_takes_a_padding_mask_without_gradients() -> None:
    """Torch's encoder would make nested tensors of it, for layers that know its own class alone."""
    x = torch.randn(2, 6, 8)
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    small: Any = halved(Encoder(), x).model
    with torch.no_grad():
        out = small(x, padding)
    assert out.shape == (2, 5)
    torch.testing.assert_close(out, small(x, padding).detach())


def test_a_model_with_a_part_that_cannot_be_copied_loses_heads_too() -> None:
    model: Any = Encoder()
    model.lock = threading.Lock()
    small: Any = halved(model, torch.randn(2, 6, 8)).model
    assert type(small.encoder.layers[0].self_attn) is MultiheadAttention


def test_attention_named_dense_stays_torch_s_own_and_whole() -> None:
    pruned = halved(Encoder(), torch.randn(2, 6, 8), dense=("encoder.layers.*.self_attn",))
    layers: Any = pruned.model.get_submodule("encoder.layers")
    assert type(layers[0].self_attn) is nn.MultiheadAttention
    assert layers[0].linear1.out_features == 32
    assert not pruned.remarks


class Extended(nn.Module):
    """Attention with a learned key beside the given ones, which stays torch's, and one without, whose width stays."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.MultiheadAttention(16, 4, add_bias_kv=True), nn.MultiheadAttention(16, 4)
        self.into, self.out = nn.Linear(16, 32), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = x + self.first(x, x, x, need_weights=False)[0]
        z, weights = self.second(y, y, y, average_attn_weights=False)
        return self.out(torch.relu(self.into(z))), weights


def test_what_ours_cannot_stand_for_stays_with_the_reason() -> None:
    model = Extended()
    assert replaceable(model) == ["second"]
    pruned = halved(model, torch.randn(5, 2, 16))
    assert type(pruned.model.get_submodule("first")) is nn.MultiheadAttention
    reasons = {each.name: each.reason for each in pruned.skipped}
    assert "nn.MultiheadAttention first, which has one width" in reasons["first"]


def test_where_the_weights_of_heads_are_an_output_heads_grow_narrower_and_keep_their_scale() -> None:
    second: Any = halved(Extended(), torch.randn(5, 2, 16)).model.get_submodule("second")
    assert (second.num_heads, second.head_dim, second.scale) == (4, 2, 0.5)


def test_a_saved_structure_makes_the_same_cut_in_a_new_model() -> None:
    x, model = torch.randn(2, 6, 8), Encoder().eval()
    pruned = halved(model, x)
    structure = structure_of(model, pruned.model, pruned.keep)
    assert structure is not None
    again: Any = Encoder().eval()
    assert not misfits(again, structure)
    cut(again, structure)
    again.load_state_dict(pruned.model.state_dict())
    assert type(again.encoder.layers[0].self_attn) is MultiheadAttention
    example = Example.of(x)
    assert relative_difference(example.outputs(again), example.outputs(pruned.model)) == 0


def test_the_onnx_file_of_a_smaller_encoder_computes_the_same(tmp_path: Path) -> None:
    x = torch.randn(2, 6, 8)
    small = halved(Encoder(), x).model
    exported = export_onnx(small, Example.of(x), tmp_path, "small")
    session = onnxruntime.InferenceSession(exported.model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), small(x), rtol=1e-4, atol=1e-5)


def test_a_run_says_what_was_replaced_and_comes_back_from_its_folder(tmp_path: Path) -> None:
    x, model = torch.randn(2, 6, 8), Encoder()
    run = hwprune(model, x, target="ampere:tensorrt", pattern="channel", effort=QUICK)
    assert any("became jupyter_hwprune.MultiheadAttention" in said for said in run.report.reasons)
    assert type(model.encoder.layers[0].self_attn) is nn.MultiheadAttention
    run.save(tmp_path / "run")
    again = load(tmp_path / "run", model).model
    torch.testing.assert_close(again.eval()(x), run.model.eval()(x))
    torch.testing.assert_close(again.train().state_dict(), run.model.state_dict())
