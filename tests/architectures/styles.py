"""Ways to write a network: products of bare parameters, outputs of many kinds, weights that hooks compute, torch's own
attention, and superresolution."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune, spectral_norm, weight_norm

from .entry import Entry, conv, ids, images, pooled, series, vectors


class BareLinears(nn.Module):
    """`F.linear` on parameters, one of them in parts whose bounds are written here, so that their rows stay."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(32, 8) * 0.3), nn.Parameter(torch.randn(32))
        self.both, self.b2 = nn.Parameter(torch.randn(48, 32) * 0.3), nn.Parameter(torch.randn(24))
        self.w3 = nn.Parameter(torch.randn(4, 24) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.linear(x, self.w1, self.b1))
        gate = functional.linear(x, self.both[24:])
        x = functional.linear(x, self.both[:24], self.b2) * torch.sigmoid(gate)
        return functional.linear(x, self.w3)


class BareConvolutions(nn.Module):
    """`F.conv2d` and `F.batch_norm` on parameters in a ParameterList and a ParameterDict."""

    mean: Tensor
    variance: Tensor

    def __init__(self) -> None:
        super().__init__()
        shapes = [(16, 3, 3, 3), (16, 1, 3, 3), (24, 16, 1, 1)]
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(*s) * 0.3) for s in shapes])
        self.norm = nn.ParameterDict({"weight": torch.rand(24) + 0.5, "bias": torch.randn(24)})
        self.register_buffer("mean", torch.zeros(24))
        self.register_buffer("variance", torch.ones(24))
        self.head = nn.Parameter(torch.randn(24, 5) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.conv2d(x, self.weights[0], padding=1))
        x = functional.relu6(functional.conv2d(x, self.weights[1], padding=1, groups=x.shape[1]))
        x = functional.conv2d(x, self.weights[2])
        x = functional.batch_norm(x, self.mean, self.variance, self.norm["weight"], self.norm["bias"])
        return pooled(functional.relu(x)) @ self.head


class StandardisedConv(nn.Conv2d):
    """The weight of each output is standardised in `forward`, over its inputs, which all count."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return functional.conv2d(x, w, self.bias, self.stride, self.padding)


class Standardised(nn.Module):
    """Outputs go with their rows, each of which is standardised by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = StandardisedConv(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(pooled(functional.relu(self.norm(self.b(functional.relu(self.a(x)))))))
        return y


@dataclass
class Found:
    logits: Tensor
    features: Tensor
    loss: Tensor | None = None
    count: int = 0


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(16, 32, stride=2), conv(32, 24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Any:
        b = self.b(self.a(x))
        return b, self.head(pooled(self.c(b)))


class AnswersDataclass(Backbone):
    def forward(self, x: Tensor) -> Found:
        features, logits = super().forward(x)
        return Found(logits, pooled(features))


class AnswersMixed(Backbone):
    """A dict with a tensor, a number, a word, nothing, and a list of a tuple."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        _, logits = super().forward(x)
        return {"logits": logits, "loss": None, "classes": 5, "kind": "resnet", "aux": [(logits.softmax(-1), 0.5)]}


class AnswersTuple(Backbone):
    def forward(self, x: Tensor) -> tuple[Tensor, None, int]:
        _, logits = super().forward(x)
        return logits, None, x.shape[0]


class AnswersOrdered(Backbone):
    """As segmentation networks answer, an auxiliary head among it, and an optional input that is not given."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Conv2d(32, 5, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> OrderedDict[str, Tensor]:
        features, logits = super().forward(x if mask is None else x * mask)
        aux = functional.interpolate(self.aux(features), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return OrderedDict(out=logits * scale, aux=aux)


def hooked_weight_norm() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch has a newer way, and vocoders still use this one
        return nn.Sequential(
            weight_norm(nn.Conv1d(8, 32, 3, padding=1)), nn.ELU(), weight_norm(nn.Conv1d(32, 24, 3, padding=1)),
            nn.ELU(), weight_norm(nn.ConvTranspose1d(24, 16, 4, 2, 1)), nn.ELU(), nn.Conv1d(16, 2, 1),
        )  # fmt: skip


def hooked_spectral_norm() -> nn.Module:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(3, 16, 4, 2, 1)), nn.LeakyReLU(0.2), spectral_norm(nn.Conv2d(16, 32, 4, 2, 1)),
        nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), spectral_norm(nn.Linear(32, 1)),
    )  # fmt: skip


def masked_before() -> nn.Module:
    """Single weights were pruned by torch before: masks stand beside the weights."""
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 4))
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", amount=0.4)  # type: ignore[no-untyped-call]
    return model


def masked_channels_before() -> nn.Module:
    """Whole filters were masked by torch before, biases too."""
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 144, 4)]
    model = nn.Sequential(*layers)
    prune.ln_structured(model[0], "weight", amount=0.25, n=2, dim=0)  # type: ignore[no-untyped-call]
    prune.random_unstructured(model[2], "bias", amount=0.25)  # type: ignore[no-untyped-call]
    prune.l1_unstructured(model[2], "weight", amount=0.25)  # type: ignore[no-untyped-call]
    return model


class AttentionInBlock(nn.Module):
    """nn.MultiheadAttention in one's own block, its weights returned, so that heads grow narrower instead of fewer."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embed, self.norm1, self.norm2 = nn.Embedding(50, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 96), gelu=nn.GELU(), c_proj=nn.Linear(96, width)))
        self.head = nn.Linear(width, 5)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(tokens)
        y = self.norm1(x)
        made, weights = self.attention(y, y, y)
        x = x + made
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1)), weights


class PooledByAttention(nn.Module):
    """A learned query pools the tokens by nn.MultiheadAttention with keys and values of another width, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.seen = nn.Linear(8, 48), nn.Linear(48, 24)
        self.query, self.attention = nn.Parameter(torch.randn(1, 1, 16)), nn.MultiheadAttention(16, 2, kdim=24, vdim=24)
        self.mid, self.head = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        seen = functional.relu(self.seen(functional.relu(self.up(x)))).transpose(0, 1)
        y, _ = self.attention(self.query.expand(-1, x.shape[0], -1), seen, seen)
        out: Tensor = self.head(functional.relu(self.mid(y[0])))
        return out


class TorchTransformer(nn.Module):
    """nn.Transformer whole, the target masked causally."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(50, 16), nn.Embedding(40, 16)
        self.transformer = nn.Transformer(16, 2, 1, 1, 64, batch_first=True)
        self.head = nn.Linear(16, 40)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = self.transformer.generate_square_subsequent_mask(target.shape[1])
        y: Tensor = self.head(self.transformer(self.source(source), self.target(target), tgt_mask=mask))
        return y


class EnhancedResolution(nn.Module):
    """EDSR: scaled residual blocks, a long skip, two pixel shuffles, a mean that is taken off and put back."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)) for _ in range(2)
        )
        self.after = nn.Conv2d(16, 16, 3, padding=1)
        self.up = nn.Sequential(*(m for _ in range(2) for m in (nn.Conv2d(16, 64, 3, padding=1), nn.PixelShuffle(2))))
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x - self.mean)
        y = x
        for block in self.blocks:
            y = y + block(y) * 0.1
        out: Tensor = self.out(self.up(self.after(y) + x)) + self.mean
        return out


class Unshuffled(nn.Module):
    """Restoration at a lower resolution: pixels become channels first, dense blocks follow, pixels again at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.stem = nn.PixelUnshuffle(2), nn.Conv2d(12, 16, 3, padding=1)
        self.grow = nn.ModuleList(nn.Conv2d(16 + 8 * i, 8, 3, padding=1) for i in range(3))
        self.fuse, self.out, self.shuffle = nn.Conv2d(40, 16, 1), nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(self.down(x))
        made = [y]
        for layer in self.grow:
            made.append(functional.leaky_relu(layer(torch.cat(made, 1)), 0.2, inplace=True))
        y = y + 0.2 * self.fuse(torch.cat(made, 1))
        return torch.clamp(x + self.shuffle(self.out(y)), -4, 4)


STYLES = {
    "functional_linear": Entry(BareLinears, vectors(), 0.4),
    "functional_convolution": Entry(BareConvolutions, images(), 0.5),
    "standardised_weights": Entry(Standardised, images(), 0.6),
    "answers_dataclass": Entry(AnswersDataclass, images(), 0.4),  # the pooled features are an output: 32 stay
    "answers_mixed_dict": Entry(AnswersMixed, images(), 0.6),
    "answers_tuple_with_none": Entry(AnswersTuple, images(), 0.6),
    "answers_ordered_dict": Entry(AnswersOrdered, lambda: {"x": images()(), "scale": 2.0}, 0.6),
    "weight_norm_hooked": Entry(hooked_weight_norm, lambda: torch.randn(2, 8, 10), 0.6),
    "spectral_norm_hooked": Entry(hooked_spectral_norm, images(), 0.5),
    "torch_prune_single_weights": Entry(masked_before, vectors(), 0.6),
    "torch_prune_filters": Entry(masked_channels_before, images(), 0.5),
    "multihead_attention_in_block": Entry(AttentionInBlock, ids(), 0.7),
    "multihead_attention_pooling": Entry(PooledByAttention, series(), 0.7),
    "torch_transformer_whole": Entry(TorchTransformer, lambda: (ids()(), ids(5, 40)()), 0.6),
    "super_resolution_residual": Entry(EnhancedResolution, images(3, 8), 0.6),
    "restoration_unshuffled": Entry(Unshuffled, images(), 0.5),
}
