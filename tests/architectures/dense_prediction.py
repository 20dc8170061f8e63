"""Networks whose output is an image or a signal, and others of several inputs and outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry, conv, images, pooled, signals, vectors


class AttentionGate(nn.Module):
    def __init__(self, skip: int, below: int, inner: int) -> None:
        super().__init__()
        self.skip, self.below, self.score = (
            nn.Conv2d(skip, inner, 1),
            nn.Conv2d(below, inner, 1),
            nn.Conv2d(inner, 1, 1),
        )

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        return skip * torch.sigmoid(self.score(functional.relu(self.skip(skip) + self.below(below))))


class UNet(nn.Module):
    def __init__(self, *, gated: bool = False) -> None:
        super().__init__()
        self.down, self.deep, self.deeper = conv(3, 16), conv(16, 32, stride=2), conv(32, 32, stride=2)
        self.up1, self.mix1 = nn.ConvTranspose2d(32, 32, 2, 2), conv(64, 32)
        self.up2, self.mix2 = nn.ConvTranspose2d(32, 16, 2, 2), conv(32, 16)
        self.gate = AttentionGate(16, 16, 8) if gated else None
        self.out = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        b = self.deep(a)
        c = self.mix1(torch.cat([b, self.up1(self.deeper(b))], 1))
        up = self.up2(c)
        if self.gate is not None:
            a = self.gate(a, up)
        y: Tensor = self.out(self.mix2(torch.cat([a, up], 1)))
        return y


class SuperResolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.expand = (
            nn.Conv2d(3, 16, 5, padding=2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Conv2d(16, 32, 3, padding=1),
        )
        self.shuffle, self.act, self.out = nn.PixelShuffle(2), nn.PReLU(16), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.shuffle(self.expand(self.b(self.act(self.a(x))))))
        return y


def autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8), nn.Linear(8, 32), nn.LeakyReLU(), nn.Linear(32, 16)
    )


class FeaturePyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 32, stride=2)
        self.side_a, self.side_b, self.smooth = (
            nn.Conv2d(16, 16, 1),
            nn.Conv2d(32, 16, 1),
            nn.Conv2d(16, 4, 3, padding=1),
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a = self.a(x)
        b = self.b(a)
        top = self.side_b(b)
        low = self.side_a(a) + functional.interpolate(top, size=a.shape[-2:], mode="bilinear")
        return {"low": self.smooth(low), "features": b, "top": self.smooth(top)}


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(conv(3, 16), conv(16, 24, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(48, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = self.tower(left), self.tower(right)
        y: Tensor = self.head(torch.cat([(a - b).abs(), a * b], 1))
        return y


class Cosine(nn.Module):
    """Two towers compared by the cosine of what they make: nothing but the sums over channels is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(8, 32), nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 32))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        a, b = functional.normalize(self.left(left), dim=1), functional.normalize(self.right(right), dim=1)
        return a @ b.T


class TemporalConv(nn.Module):
    """A causal, dilated 1-D network."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(8 if i == 0 else 16, 16, 3, dilation=2**i) for i in range(3))
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.convs):
            y = functional.relu(layer(functional.pad(x, (2 * 2**i, 0))))
            x = y if i == 0 else x + y
        logits: Tensor = self.head(x[..., -1])
        return logits


class MlpNorm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Linear(8, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.BatchNorm1d(32),
            nn.ELU(),
            nn.Linear(32, 4),
        )


class ChannelBuffers(nn.Module):
    """Buffers that have the shape of channels, and tables that have not."""

    mean: Tensor
    scale: Tensor
    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4)
        self.register_buffer("mean", torch.randn(1, 16, 1, 1))
        self.register_buffer("scale", torch.rand(16) + 0.5)
        self.register_buffer("grid", torch.randn(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = (self.stem(x) - self.mean) * self.scale[:, None, None] + self.grid * 0
        y: Tensor = self.head(pooled(functional.relu(x)))
        return y


class DynamicReshape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mix, self.head = conv(3, 16), nn.Linear(64, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.stem(x), 2)
        flat = x.view(x.size(0), x.size(1) * x.size(2) * x.size(3))
        y: Tensor = self.head(functional.relu(self.mix(flat)))
        return y


class ChannelPooled(nn.Module):
    """Spatial attention by the mean and maximum over channels: none of those channels can go."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep, self.mask = conv(3, 16), conv(16, 16), nn.Conv2d(2, 1, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.stem(x))
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        y: Tensor = self.head(pooled(x * torch.sigmoid(self.mask(seen))))
        return y


def two(make: object) -> tuple[Tensor, Tensor]:
    return make(), make()  # type: ignore[operator]


DENSE_PREDICTION = {
    "unet": Entry(UNet, images(), 0.6),
    "unet_attention_gate": Entry(lambda: UNet(gated=True), images(), 0.6),
    "super_resolution_pixel_shuffle": Entry(SuperResolution, images(), 0.5),
    "autoencoder": Entry(autoencoder, vectors(16), 0.5),
    "pyramid_dict_output": Entry(FeaturePyramid, images(), 0.3),
    "siamese_two_inputs": Entry(Siamese, lambda: two(images()), 0.6),
    "cosine_towers": Entry(Cosine, lambda: two(vectors()), 0.5),
    "temporal_convolution": Entry(TemporalConv, signals(), 0.6),
    "batchnorm1d_mlp": Entry(MlpNorm, vectors(), 0.6),
    "channel_buffers": Entry(ChannelBuffers, images(), 0.4),
    "dynamic_reshape": Entry(DynamicReshape, images(), 0.6),
    "pooled_over_channels": Entry(ChannelPooled, images(), 0.4),
}
