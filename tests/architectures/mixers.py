"""Mixers of tokens and channels, patches of series, attention over channels and places, writes into slices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import FeedForward
from .entry import Entry, conv, ids, images, pooled, series, signals


class MixerBlock(nn.Module):
    def __init__(self, tokens: int = 16, width: int = 32) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across, self.within = FeedForward(tokens, 32), FeedForward(width, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        y: Tensor = x + self.within(self.norm2(x))
        return y


class SpatialGate(nn.Module):
    """gMLP: half of the hidden channels, mixed over the tokens, gates the other half."""

    def __init__(self, tokens: int = 16, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.norm, self.into, self.out = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden // 2, width)
        self.gate_norm, self.mix = nn.LayerNorm(hidden // 2), nn.Conv1d(tokens, tokens, 1)

    def forward(self, x: Tensor) -> Tensor:
        u, v = functional.gelu(self.into(self.norm(x))).chunk(2, -1)
        y: Tensor = x + self.out(u * (self.mix(self.gate_norm(v)) + 1))
        return y


class Patched(nn.Module):
    def __init__(self, *blocks: nn.Module, width: int = 32) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, width, 4, 4), nn.Sequential(*blocks)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.norm(self.blocks(self.patches(x).flatten(2).mT)).mean(1))
        return y


class ConvMixer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width)
        self.depthwise, self.norm1 = nn.Conv2d(width, width, 5, padding="same", groups=width), nn.BatchNorm2d(width)
        self.pointwise, self.norm2, self.head = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(functional.gelu(self.stem(x)))
        x = x + self.norm1(functional.gelu(self.depthwise(x)))
        y: Tensor = self.head(pooled(self.norm2(functional.gelu(self.pointwise(x)))))
        return y


class PatchSeries(nn.Module):
    """PatchTST by hand: each variable a series of its own, unfolded into patches, normalised and put back."""

    def __init__(self, horizon: int = 4, width: int = 32) -> None:
        super().__init__()
        self.embed, self.places = nn.Linear(4, width), nn.Parameter(torch.randn(7, width) * 0.1)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2, self.feed = nn.BatchNorm1d(width), nn.BatchNorm1d(width), FeedForward(width, 64)
        self.head = nn.Linear(7 * width, horizon)

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = x.mean(1, keepdim=True), x.std(1, keepdim=True) + 1e-5
        rows = ((x - mean) / deviation).permute(0, 2, 1)  # [B, V, T]
        b, variables, _ = rows.shape
        patches = rows.unfold(-1, 4, 2).reshape(b * variables, -1, 4)
        y = self.embed(patches) + self.places
        q, k, v = (p(y).view(b * variables, -1, 4, 8).transpose(1, 2) for p in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b * variables, -1, 32)
        y = self.norm1((y + self.o(mixed)).transpose(1, 2)).transpose(1, 2)
        y = self.norm2((y + self.feed(y)).transpose(1, 2)).transpose(1, 2)
        made: Tensor = self.head(y.flatten(1)).view(b, variables, -1).permute(0, 2, 1)
        return made * deviation + mean


class BucketBias(nn.Module):
    """T5's: a table of relative positions in buckets for each head, indexed by a buffer."""

    buckets: Tensor

    def __init__(self, width: int = 32, heads: int = 4, length: int = 6) -> None:
        super().__init__()
        self.heads, self.tokens = heads, nn.Embedding(50, width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.bias, self.norm, self.head = nn.Embedding(8, heads), nn.RMSNorm(width), nn.Linear(width, 50)
        apart = torch.arange(length)[None] - torch.arange(length)[:, None]
        self.register_buffer("buckets", (apart.clamp(-4, 3) + 4), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        b, t, _ = x.shape
        q, k, v = (p(self.norm(x)).view(b, t, self.heads, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        bias = self.bias(self.buckets[:t, :t]).permute(2, 0, 1).unsqueeze(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        y: Tensor = self.head(x + self.o(mixed.transpose(1, 2).reshape(b, t, -1)))
        return y


class BothAttentions(nn.Module):
    """CBAM: channels by a shared network of two poolings, then places by the mean and maximum over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.next = conv(3, 16), conv(16, 32), conv(32, 32)
        self.shared = nn.Sequential(nn.Conv2d(32, 8, 1, bias=False), nn.ReLU(), nn.Conv2d(8, 32, 1, bias=False))
        self.place, self.head = nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        means, tops = functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1)
        x = x * torch.sigmoid(self.shared(means) + self.shared(tops))
        seen = torch.cat([torch.mean(x, 1, keepdim=True), torch.max(x, 1, keepdim=True)[0]], 1)
        y: Tensor = self.head(pooled(self.next(x * torch.sigmoid(self.place(seen)))))
        return y


class EfficientChannels(nn.Module):
    """ECA: a small convolution runs along the channels, so that neighbours matter; other channels can go."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.next = conv(3, 16), conv(16, 16), conv(16, 32)
        self.along, self.head = nn.Conv1d(1, 1, 3, padding=1, bias=False), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        gate = torch.sigmoid(self.along(pooled(x).unsqueeze(1))).squeeze(1)
        y: Tensor = self.head(pooled(self.next(x * gate[:, :, None, None])))
        return y


class WritesIntoSlices(nn.Module):
    """Halves of a tensor are changed in place; their bounds are written here, so that these channels stay."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side, self.join, self.head = conv(3, 32), conv(3, 32), conv(32, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        z, y = self.stem(x), self.side(x)
        z[:, :16] += y[:, 16:]
        z[:, 16:] = z[:, 16:] * torch.sigmoid(y[:, :16])
        z[:, :, 0] = 0
        out: Tensor = self.head(pooled(self.join(z)))
        return out


class CouplingLayers(nn.Module):
    """A flow: the second half shifted and scaled by what the first says, in place, halves changing their roles."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (
            nn.Sequential(
                nn.Conv1d(4, 32, 3, padding=1), nn.ReLU(), nn.Conv1d(32, 24, 1), nn.ReLU(), nn.Conv1d(24, 8, 1)
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        for i, network in enumerate((self.a, self.b)):
            seen, moved = (slice(0, 4), slice(4, 8)) if i == 0 else (slice(4, 8), slice(0, 4))
            scale, shift = network(x[:, seen]).chunk(2, 1)
            x[:, moved].mul_(torch.tanh(scale).exp())
            x[:, moved] += shift
        return x


class TemporalShift(nn.Module):
    """TSM: channels are written from the frame before or after, within bounds that keep them whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv1d(8, 32, 1), nn.Conv1d(32, 24, 1), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        out = torch.zeros_like(x)
        out[:, :8, :-1] = x[:, :8, 1:]
        out[:, 8:16, 1:] = x[:, 8:16, :-1]
        out[:, 16:] = x[:, 16:]
        y: Tensor = self.head(functional.relu(self.body(out)).mean(-1))
        return y


MIXERS = {
    "mlp_mixer": Entry(lambda: Patched(MixerBlock(), MixerBlock()), images(), 0.6, plain=False),
    "gmlp": Entry(lambda: Patched(SpatialGate(), SpatialGate()), images(), 0.6, plain=False),
    "conv_mixer": Entry(ConvMixer, images(), 0.5),
    "patch_series_by_hand": Entry(PatchSeries, series(3, 16), 0.5),
    "relative_buckets": Entry(BucketBias, ids(), 0.6, plain=False),
    "cbam": Entry(BothAttentions, images(), 0.4),
    "efficient_channel_attention": Entry(EfficientChannels, images(), 0.4),
    "writes_into_slices": Entry(WritesIntoSlices, images(), 0.3),
    "flow_couplings_in_place": Entry(CouplingLayers, signals(8, 6), 0.5),
    "temporal_shift": Entry(TemporalShift, signals(8, 6), 0.3),
}
