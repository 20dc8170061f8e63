"""Calibration data as users have it, the statistics of layers' inputs, and the visits layer by layer."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import NM
from jupyter_hwprune.pruning import statistics as statistics_module
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.layers import PRUNABLE, as_matrix
from jupyter_hwprune.pruning.masks import keep_n_of_m
from jupyter_hwprune.pruning.replay import replay
from jupyter_hwprune.pruning.sequential import evaluation, layer_by_layer
from jupyter_hwprune.pruning.solver import solve
from jupyter_hwprune.pruning.statistics import Statistics
from jupyter_hwprune.pruning.trace import trace
from tests.conftest import fingerprint

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(3, 8, 9, 7, generator=torch.Generator().manual_seed(1))
SIGNALS = torch.randn(3, 8, 13, generator=torch.Generator().manual_seed(2))


def given(model: nn.Module, *batches: Any) -> Calibration:
    return Calibration(tuple(Example.of(batch) for batch in batches), None)


def prunable(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, PRUNABLE)]


def halve(_name: str, layer: nn.Module, _statistics: Statistics) -> None:
    """Zero every other input of the layer, so that all that comes behind it sees a change."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    weight.data[:, ::2] = 0


def visited(
    model: nn.Module, calibration: Calibration, act: Callable[..., None] = halve, **options: Any
) -> tuple[dict[str, Statistics], dict[str, str]]:
    """Visit all layers of the model, change each by `act`, and return what each was shown and who was left out."""
    found: dict[str, Statistics] = {}

    def visit(name: str, layer: nn.Module, seen: Statistics) -> None:
        found[name] = seen
        act(name, layer, seen)

    reasons = layer_by_layer(model, prunable(model), calibration, visit, **({"gram": True} | options))
    return found, reasons


LAYERS: dict[str, tuple[nn.Module, Tensor]] = {
    "linear": (nn.Linear(8, 4), torch.randn(2, 3, 8)),
    "linear_vector": (nn.Linear(8, 4), torch.randn(8)),
    "conv1d": (nn.Conv1d(8, 4, 3, stride=2, padding=2, dilation=2), SIGNALS),
    "conv1d_same": (nn.Conv1d(8, 4, 4, dilation=2, padding="same"), SIGNALS),
    "conv2d": (nn.Conv2d(8, 4, 3), IMAGES),
    "conv2d_valid": (nn.Conv2d(8, 4, (3, 2), stride=(1, 2), padding="valid"), IMAGES),
    "conv2d_strided": (nn.Conv2d(8, 4, (3, 2), stride=(2, 3), padding=(1, 0), dilation=(1, 2)), IMAGES),
    "conv2d_grouped": (nn.Conv2d(8, 4, 3, groups=2, padding=1), IMAGES),
    "conv2d_depthwise": (nn.Conv2d(8, 16, 3, groups=8), IMAGES),
    "conv2d_unbatched": (nn.Conv2d(8, 4, 3), IMAGES[0]),
    "reflect": (nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect"), IMAGES),
    "circular": (nn.Conv2d(8, 4, (3, 5), padding=(1, 2), padding_mode="circular"), IMAGES),
    "replicate": (nn.Conv1d(8, 4, 3, padding=1, padding_mode="replicate"), SIGNALS),
    "transposed1d": (nn.ConvTranspose1d(8, 4, 3, stride=2), SIGNALS),
    "transposed2d": (nn.ConvTranspose2d(8, 4, (3, 2), stride=(2, 3), padding=1, output_padding=(1, 0)), IMAGES),
    "transposed_grouped": (nn.ConvTranspose2d(8, 4, 3, groups=2, dilation=2), IMAGES),
    "transposed_cut": (nn.ConvTranspose1d(8, 4, 2, stride=2, padding=3), SIGNALS),
}


def outputs_from_gram(layer: Any, gram: Tensor) -> Tensor:
    """Return, for each output channel, the sum of its squares over all positions, from nothing but the Gram matrix."""
    matrix = as_matrix(layer.weight.detach(), layer).flatten(1)
    by_group = matrix.reshape(gram.shape[0], -1, matrix.shape[1])  # [g, K/g, D]
    return (by_group @ gram * by_group).sum(2).flatten()


def assert_same_sums(gram: Tensor | None, other: Tensor | None, rows: int) -> None:
    """Hold two Gram matrices over the same `rows` together, whichever order each added its products in.

    A float32 sum of n products is off by at most n u / (1 - n u) times the sum of their magnitudes, u = 2^-24 (Higham,
    Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), and that sum is at most sqrt(G_ii G_jj).
    """
    assert gram is not None
    assert other is not None
    norms = gram.diagonal(dim1=1, dim2=2).sqrt()
    off = rows * 2**-24
    bound = 2 * off / (1 - off) * norms[:, :, None] * norms[:, None, :]
    assert bool(((gram - other).abs() <= bound).all())


@pytest.mark.parametrize("kind", LAYERS)
def test_the_gram_matrix_gives_the_energy_of_every_output_for_any_weight(kind: str) -> None:
    layer: Any
    layer, x = LAYERS[kind]
    layer.bias = None
    found, reasons = visited(nn.Sequential(layer), given(layer, x, x * 2), act=lambda *_: None)
    gram = found["0"].gram
    assert gram is not None
    assert reasons == {}
    own = layer.weight.detach().clone()
    for seed in range(3):
        layer.weight.data = torch.randn(own.shape, generator=torch.Generator().manual_seed(seed))
        y = layer(x).detach()
        channels = -1 if isinstance(layer, nn.Linear) else -len(layer.kernel_size) - 1
        y = y.movedim(channels, 0)
        y = y.reshape(len(y), -1)
        torch.testing.assert_close(outputs_from_gram(layer, gram), 5 * y.square().sum(1), rtol=1e-4, atol=1e-4)
        positions = y.shape[1] * 2
    layer.weight.data = own
    assert found["0"].rows == positions
    assert torch.equal(gram, gram.mT)
    assert torch.equal(found["0"].norms, gram.diagonal(dim1=1, dim2=2).sqrt())


@pytest.mark.parametrize("kind", LAYERS)
def test_norms_alone_are_those_of_the_gram_matrix(kind: str) -> None:
    layer, x = LAYERS[kind]
    full, _ = visited(nn.Sequential(layer), given(layer, x), act=lambda *_: None)
    alone, _ = visited(nn.Sequential(layer), given(layer, x), act=lambda *_: None, gram=False)
    assert alone["0"].gram is None
    torch.testing.assert_close(alone["0"].norms, full["0"].norms, rtol=full["0"].rows * 2**-23, atol=0.0)


@pytest.mark.parametrize("kind", ["linear", "conv2d_strided", "conv2d_grouped", "transposed2d"])
def test_pieces_and_panels_add_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = LAYERS[kind]
    whole, _ = visited(nn.Sequential(layer), given(layer, x), act=lambda *_: None)
    monkeypatch.setattr(statistics_module, "CHUNK_BYTES", 500)
    monkeypatch.setattr(statistics_module, "PANEL", 3)
    pieces, _ = visited(nn.Sequential(layer), given(layer, x), act=lambda *_: None)
    assert_same_sums(pieces["0"].gram, whole["0"].gram, whole["0"].rows)
    assert pieces["0"].rows == whole["0"].rows


def test_a_transposed_convolution_follows_the_output_size_it_is_called_with() -> None:
    class Upsample(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose1d(8, 4, 3, stride=2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(x, output_size=[28])  # type: ignore[no-any-return]

    model = Upsample()
    found, _ = visited(model, given(model, SIGNALS), act=lambda *_: None)
    assert found["up"].rows == 3 * 28
    energy = outputs_from_gram(model.up, found["up"].gram)  # type: ignore[arg-type]
    torch.testing.assert_close(energy, model(SIGNALS).detach().square().sum((0, 2)), rtol=1e-4, atol=1e-4)


def test_a_layer_sees_what_the_pruned_layers_before_it_leave() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4))
    expected = nn.Sequential(*(type(m)(8, m.out_features) if isinstance(m, nn.Linear) else m for m in model))
    expected.load_state_dict(model.state_dict())
    found, reasons = visited(model, given(model, X, X + 1))
    assert reasons == {}
    h = torch.cat([X, X + 1])
    with torch.no_grad():
        for name, layer in expected.named_children():
            if isinstance(layer, nn.Linear):
                assert_same_sums(found[name].gram, (h.T @ h)[None], len(h))
                halve(name, layer, found[name])
            h = layer(h)


def own_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=True)[:, 0]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, shift: Tensor) -> tuple[Tensor, None]:
        h = self.norm1(x)
        x = x + self.o(own_attention(self.q(h) + shift, self.k(h), self.v(h)))
        x += self.down(F.gelu(self.up(self.norm2(x))))
        return x, None


class Transformer(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, width)
        self.inward = nn.Linear(width, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.inward(self.embed(tokens))
        shift = torch.arange(x.shape[1])[:, None] / x.shape[1]
        for block in self.blocks:
            x, _ = block(x, shift=shift)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def tiny_bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32)
    return BertForSequenceClassification(config)


def tiny_gpt2() -> nn.Module:
    """Its projections are `Conv1D` of transformers; here each is the Linear that it amounts to."""
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    config = GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32, tie_word_embeddings=False)
    model = GPT2LMHeadModel(config)
    for name, module in list(model.named_modules()):
        if isinstance(module, Conv1D):
            linear = nn.Linear(*module.weight.shape)
            linear.weight, linear.bias = nn.Parameter(module.weight.detach().mT.clone()), module.bias
            owner, _, own = name.rpartition(".")
            setattr(model.get_submodule(owner), own, linear)
    return model


def tiny_llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config)


def tokens(rows: int, length: int, seed: int) -> Tensor:
    return torch.randint(0, 11, (rows, length), generator=torch.Generator().manual_seed(seed))


def masked(rows: int, length: int, seed: int) -> dict[str, Tensor]:
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[0, length - 2 :] = 0
    return {"input_ids": tokens(rows, length, seed), "attention_mask": mask}


class Skipping(nn.Module):
    """A small U-Net: what comes up reads what went down."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(16, 8, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for conv in self.down:
            x = F.relu_(conv(x))
            kept.append(x)
        x = self.middle(x)
        for conv in self.up:
            x = conv(torch.cat([x, kept.pop()], 1))
        return x


class Repeating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = torch.tanh(self.shared(x))
        return self.last(x)  # type: ignore[no-any-return]


class Carrying(nn.Module):
    """Blocks that hand something on behind the model's back."""

    class Part(nn.Module):
        def __init__(self, shared: dict[str, Tensor]) -> None:
            super().__init__()
            self.one, self.two, self.shared = nn.Linear(8, 8), nn.Linear(8, 8), shared

        def forward(self, x: Tensor) -> Tensor:
            before = self.shared.get("x", x)
            self.shared["x"] = self.one(x)
            return self.two(torch.relu(self.shared["x"])) + before  # type: ignore[no-any-return]

    def __init__(self) -> None:
        super().__init__()
        self.store: dict[str, Tensor] = {}
        self.parts = nn.Sequential(*(self.Part(self.store) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        self.store.clear()
        return self.parts(x)  # type: ignore[no-any-return]


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "own_transformer": (Transformer, (tokens(4, 6, 0), tokens(3, 6, 1), tokens(2, 5, 2))),
    "bert": (tiny_bert, (masked(3, 8, 0), masked(2, 8, 1), {"input_ids": tokens(2, 5, 2)})),
    "gpt2": (tiny_gpt2, (masked(3, 8, 0), masked(2, 6, 1))),
    "llama": (tiny_llama, (masked(3, 8, 0), masked(2, 8, 1), {"input_ids": tokens(2, 5, 2)})),
    "unet": (Skipping, (IMAGES, IMAGES[:, :, :6] + 1)),
    "repeating": (Repeating, (X, X + 1)),
    "carrying": (Carrying, (X, X + 1)),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
        (SIGNALS.mT, SIGNALS.mT + 1),
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 4, 3), nn.ReLU(inplace=True)),
            nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        (IMAGES, IMAGES + 1),
    ),
}


def made(name: str) -> tuple[nn.Module, Calibration]:
    torch.manual_seed(0)
    build, batches = MODELS[name]
    model = build()
    return model, given(model, *batches)


@pytest.mark.parametrize("name", MODELS)
def test_resuming_at_a_block_gives_the_statistics_of_whole_passes(name: str) -> None:
    model, calibration = made(name)
    resumed, reasons = visited(model, calibration)
    again, _ = made(name)
    whole, same_reasons = visited(again, calibration, resume=False)
    assert reasons == same_reasons
    assert list(resumed) == list(whole)
    for layer, seen in resumed.items():
        assert seen.rows == whole[layer].rows
        torch.testing.assert_close(seen.gram, whole[layer].gram, rtol=1e-4, atol=1e-5)
    assert fingerprint(model) == fingerprint(again)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_sees_the_pruned_prefix(name: str) -> None:
    """The finished model shows each layer the same inputs again, for nothing that came before it changed since."""
    model, calibration = made(name)
    found, _ = visited(model, calibration)
    if name == "repeating":
        found.pop("shared")  # its own later inputs are its outputs
    finished, _ = visited(model, calibration, act=lambda *_: None)
    dense, _ = visited(made(name)[0], calibration, act=lambda *_: None)
    for layer, seen in found.items():
        torch.testing.assert_close(seen.gram, finished[layer].gram, rtol=1e-3, atol=1e-4)
    last = list(found)[-1]
    assert not torch.allclose(found[last].gram, dense[last].gram, rtol=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("own_transformer", ["blocks.0", "blocks.1", "blocks.2"]),
        ("bert", [f"bert.encoder.layer.{i}" for i in range(3)]),
        ("gpt2", [f"transformer.h.{i}" for i in range(3)]),
        ("llama", ["model.layers.0", "model.layers.1", "model.layers.2", "lm_head"]),
        ("encoder", ["layers.0", "layers.1"]),
        ("cnn", ["0", "1", "4"]),
        ("unet", ["down.0", "down.1", "middle"]),
    ],
)
def test_passes_begin_at_the_block(name: str, blocks: list[str]) -> None:
    model, calibration = made(name)
    layers = {name: model.get_submodule(name) for name in prunable(model)}
    with evaluation(model):
        calls = trace(model, layers, calibration.batches)
        runs = replay(model, calibration.batches, calls)
    places = [runs.elements.index(block) for block in blocks]
    assert all(runs.resumable[place] for place in places)


@pytest.mark.parametrize("name", ["unet", "carrying"])
def test_no_pass_begins_where_more_is_read_than_the_block_before(name: str) -> None:
    model, calibration = made(name)
    layers = {name: model.get_submodule(name) for name in prunable(model)}
    with evaluation(model):
        calls = trace(model, layers, calibration.batches)
        runs = replay(model, calibration.batches, calls)
    refused = [element for element, resumable in zip(runs.elements, runs.resumable, strict=True) if not resumable]
    inside = {"unet": ["up.0", "up.1"], "carrying": []}[name]
    assert refused == inside
    if name == "carrying":
        assert runs.elements == ["parts"]


def test_layers_that_read_the_same_tensor_share_one_gram_matrix() -> None:
    model, calibration = made("own_transformer")
    found, _ = visited(model, calibration, act=lambda *_: None)
    block = {name.rpartition(".")[2]: seen for name, seen in found.items() if name.startswith("blocks.1.")}
    assert block["q"].gram is block["k"].gram is block["v"].gram
    assert block["up"].gram is not block["o"].gram


def test_one_gram_matrix_is_alive_at_a_time() -> None:
    model, calibration = made("llama")
    alive: list[weakref.ref[Statistics]] = []
    most = 0

    def visit(_name: str, _layer: nn.Module, seen: Statistics) -> None:
        nonlocal most
        if not any(ref() is seen for ref in alive):
            alive.append(weakref.ref(seen))
        most = max(most, sum(ref() is not None for ref in alive))

    layer_by_layer(model, prunable(model), calibration, visit, gram=True)
    assert len(alive) == 3 * 4 + 1  # q with k and v; o; gate with up; down; and the head
    assert most == 1


def test_a_layer_that_shares_its_input_in_some_batches_only_gets_its_own_statistics() -> None:
    class Crossing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            return self.q(x) * self.k(x if context is None else context)  # type: ignore[no-any-return]

    model = Crossing()
    found, _ = visited(model, given(model, X, (X, X + 3)), act=lambda *_: None)
    rows = torch.cat([X, X + 3])
    assert_same_sums(found["q"].gram, (2 * X.T @ X)[None], len(rows))
    assert_same_sums(found["k"].gram, (rows.T @ rows)[None], len(rows))


def test_a_layer_that_only_a_later_batch_reaches_is_visited_in_its_place() -> None:
    class Routing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.low, self.high, self.out, self.never = (nn.Linear(8, 8) for _ in range(5))

        def forward(self, x: Tensor) -> Tensor:
            expert = self.high if x.mean() > 1 else self.low
            return self.out(expert(self.router(x) * 0 + x))  # type: ignore[no-any-return]

    model = Routing()
    found, reasons = visited(model, given(model, X, X + 3), act=lambda *_: None)
    assert list(found) == ["router", "high", "low", "out"]
    assert found["low"].rows == found["high"].rows == 6
    assert found["out"].rows == 12
    assert list(reasons) == ["never"]
    assert "no calibration batch reached it" in reasons["never"]


def test_a_projection_that_multihead_attention_never_calls_is_named_with_the_reason() -> None:
    model, calibration = made("encoder")
    found, reasons = visited(model, calibration)
    assert sorted(found) == [f"layers.{i}.linear{j}" for i in range(2) for j in (1, 2)]
    assert sorted(reasons) == [f"layers.{i}.self_attn.out_proj" for i in range(2)]
    assert "nn.MultiheadAttention reads its weight without calling it" in reasons["layers.0.self_attn.out_proj"]


def test_a_gram_matrix_that_is_too_large_is_a_reason_with_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(8, 100), nn.ReLU(), nn.Linear(100, 2))
    monkeypatch.setattr(statistics_module, "GRAM_LIMIT_BYTES", 9 * 9 * 4)
    found, reasons = visited(model, given(model, X))
    assert list(found) == ["0"]
    assert "100 inputs" in reasons["2"]
    assert "--importance activation" in reasons["2"]
    assert visited(model, given(model, X), gram=False)[1] == {}


def test_inputs_that_are_not_finite_are_a_reason() -> None:
    class Dividing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x) / 0)  # type: ignore[no-any-return]

    model = Dividing()
    found, reasons = visited(model, given(model, X))
    assert list(found) == ["one"]
    assert "hold NaN or infinite" in reasons["two"]


def test_a_model_that_is_one_layer_is_visited_too() -> None:
    model = nn.Linear(8, 4)
    found, reasons = visited(model, given(model, X))
    assert reasons == {}
    assert_same_sums(found[""].gram, (X.T @ X)[None], len(X))


def test_a_module_that_calls_itself_is_followed_to_its_end() -> None:
    class Halving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) < 2:
                return self.inner(x)  # type: ignore[no-any-return]
            return self.last(torch.cat([self(x[::2]), self(x[1::2])]))  # type: ignore[no-any-return]

    model = nn.Sequential(nn.Linear(8, 8), Halving())
    found, _ = visited(model, given(model, X[:4]), act=lambda *_: None)
    assert {name: seen.rows for name, seen in found.items()} == {"0": 4, "1.inner": 4, "1.last": 8}


@pytest.mark.parametrize("name", ["own_transformer", "llama"])
def test_with_the_solver_the_pruned_model_is_nearer_to_the_dense_than_by_magnitude(name: str) -> None:
    dense, calibration = made(name)

    def by_solver(_name: str, layer: nn.Module, seen: Statistics) -> None:
        assert isinstance(layer, nn.Linear)
        layer.weight.data = solve(layer.weight, seen.gram[0], NM(2, 4), 0.5).weight  # type: ignore[index]

    def by_magnitude(_name: str, layer: nn.Module, _seen: Statistics) -> None:
        assert isinstance(layer, nn.Linear)
        layer.weight.data *= keep_n_of_m(layer.weight.data.abs()[:, None], 2, 4)[:, 0]

    error = {}
    for act in (by_solver, by_magnitude):
        model, _ = made(name)
        visited(model, calibration, act)
        assert all(
            ((model.get_submodule(layer).weight != 0).reshape(-1, 4).sum(1) <= 2).all()  # type: ignore[union-attr]
            for layer in prunable(model)
        )
        error[act] = sum(
            float((batch.outputs(model.eval())[0] - batch.outputs(dense.eval())[0]).square().sum())
            for batch in calibration.batches
        )
    assert error[by_solver] < 0.8 * error[by_magnitude]


def state(model: nn.Module) -> list[Any]:
    return [
        (module.training, dict(vars(module)["_forward_hooks"]), dict(vars(module)["_forward_pre_hooks"]))
        for module in model.modules()
    ] + ["forward" in vars(module) for module in model.modules()]


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("name", ["own_transformer", "llama", "encoder"])
@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_but_what_visit_changes_is_touched(name: str, interrupted: bool) -> None:
    model, calibration = made(name)
    model.train()
    model.get_submodule(prunable(model)[0]).eval()
    before, weights, modes = fingerprint(model), {n: p.clone() for n, p in model.named_parameters()}, state(model)
    random, fused = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    chosen = [layer for layer in prunable(model) if "0" in layer and "attn" not in layer]

    def visit(layer: str, module: nn.Module, seen: Statistics) -> None:
        if interrupted and layer == chosen[-1]:
            raise Interrupt
        halve(layer, module, seen)

    if interrupted:
        with pytest.raises(Interrupt):
            layer_by_layer(model, chosen, calibration, visit, gram=True)
    else:
        layer_by_layer(model, chosen, calibration, visit, gram=True)
    assert state(model) == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled() == fused
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, weights[n])}
    assert changed == {f"{layer}.weight" for layer in (chosen[:-1] if interrupted else chosen)}
    assert fingerprint(model) != before


def test_an_interrupt_inside_the_model_leaves_no_hook() -> None:
    class Interrupting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.calls = nn.Linear(8, 8), nn.Linear(8, 8), 0

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            self.calls += 1
            if self.calls > 5:
                raise Interrupt
            return self.two(x)  # type: ignore[no-any-return]

    model = Interrupting()
    before = state(model)
    with pytest.raises(Interrupt):
        visited(model, given(model, *[X] * 8))
    assert state(model) == before


MLP = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 3))
LABELS = torch.arange(6)
LIKE = Example.of(X)


def batches_of_x() -> Iterator[Tensor]:
    yield X
    yield X + 1


@pytest.mark.parametrize(
    ("value", "batches", "labelled"),
    [
        (X, 1, False),
        ([X, X + 1], 2, False),
        ((X, X + 1, X + 2), 3, False),
        ((X, LABELS), 1, True),
        ([(X, LABELS), (X, LABELS)], 2, True),
        ([[X, LABELS]], 1, True),
        (((X, LABELS), (X, LABELS)), 2, True),
        (batches_of_x(), 2, False),
        ({"input": X}, 1, False),
        ([{"input": X, "labels": LABELS}], 1, True),
        (DataLoader(TensorDataset(X, LABELS), batch_size=4), 2, True),
        (DataLoader(TensorDataset(X), batch_size=2), 3, False),
    ],
)
def test_calibration_data_is_taken_as_users_have_it(value: Any, batches: int, labelled: bool) -> None:
    found = Calibration.of(value, MLP, LIKE)
    assert len(found.batches) == batches
    assert (found.labels is not None) == labelled
    assert found.rows == sum(batch.tensors[0].shape[0] for batch in found.batches)
    assert all(len(batch.tensors) == 1 for batch in found.batches)
    assert torch.equal(found.batches[0].tensors[0], X[: found.batches[0].batch])
    if found.labels is not None:
        assert torch.equal(found.labels[0], LABELS[: found.batches[0].batch])


def test_labels_are_no_mask_for_a_model_that_would_take_them_as_one() -> None:
    bert, ids = tiny_bert(), tokens(2, 5, 0)
    found = Calibration.of([(ids, torch.tensor([0, 1]))], bert, Example.of(ids))
    assert len(found.batches[0].args) == 1
    assert found.labels is not None
    named = Calibration.of([(ids, torch.ones_like(ids))], bert, Example.of(masked(2, 5, 0)))
    assert list(named.batches[0].kwargs) == ["input_ids", "attention_mask"]
    assert named.labels is None


def test_labels_that_forward_takes_stay_with_the_inputs() -> None:
    bert = tiny_bert()
    batch = masked(2, 5, 0) | {"labels": torch.tensor([0, 1])}
    found = Calibration.of([batch], bert, Example.of(masked(2, 5, 0)))
    assert "labels" in found.batches[0].kwargs
    pair = Calibration.of([(masked(2, 5, 0), torch.tensor([0, 1]))], bert, Example.of(masked(2, 5, 0)))
    assert list(pair.batches[0].kwargs) == ["input_ids", "attention_mask"]
    assert pair.labels is not None


def test_floating_inputs_come_in_the_models_dtype() -> None:
    model = nn.Linear(8, 4).bfloat16()
    found = Calibration.of(X.double().requires_grad_(), model, Example.of(X.bfloat16()))
    [x] = found.batches[0].tensors
    assert x.dtype == torch.bfloat16
    assert not x.requires_grad


def test_a_loader_is_read_no_further_than_needed_and_its_random_state_stays() -> None:
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(X, LABELS), batch_size=1, shuffle=True, generator=generator)
    before, own = torch.get_rng_state(), generator.get_state()
    first = Calibration.of(loader, MLP, LIKE, most_batches=2)
    assert len(first.batches) == 2
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(generator.get_state(), own)
    endless = (X + i for i in iter(int, 1))
    assert Calibration.of(endless, MLP, LIKE, most_batches=3).rows == 18


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "calibration data is a int"),
        ("data", "calibration data is a str"),
        (X.numpy(), "calibration data is a ndarray"),
        ([], "calibration data is empty"),
        (X[:0], "batch 0 is empty"),
        ([X, X * float("nan")], "batch 1 holds NaN"),
        ([X, X[:, :5]], r"does not run on the calibration data's batch 1 of shape \(6, 5\)"),
        ([X, "text"], "batch 1 is a str"),
        ([(X, X, LABELS)], "batch 0 has 3 items"),
        ([{"input": X, "picture": X}], "holds picture"),
        (TensorDataset(X, LABELS), "is a Dataset"),
    ],
)
def test_what_is_no_calibration_data_is_told_in_one_paragraph(value: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Calibration.of(value, MLP, LIKE)
