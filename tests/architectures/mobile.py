"""Networks for phones: depthwise and grouped convolutions, gates, shuffles."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry, conv, images, linear_conv, pooled


class InvertedResidual(nn.Module):
    def __init__(self, width: int, hidden: int, *, gated: bool = False) -> None:
        super().__init__()
        self.up, self.depthwise = conv(width, hidden, 1), conv(hidden, hidden, groups=hidden)
        self.gate = SqueezeExcite(hidden) if gated else nn.Identity()
        self.down = nn.Sequential(*linear_conv(hidden, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.gate(self.depthwise(self.up(x))))
        return x + y


class SqueezeExcite(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1))))
        return x * functional.hardsigmoid(scale)


def mobilenet(*, gated: bool = False) -> nn.Module:
    blocks = [InvertedResidual(16, 64, gated=gated), InvertedResidual(16, 48, gated=gated)]
    return nn.Sequential(
        conv(3, 16), *blocks, conv(16, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )


def shuffled(x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)


class ShuffleNet(nn.Module):
    """Version 1: grouped 1x1 convolutions with their channels shuffled between."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 32)
        self.a, self.depthwise, self.b = conv(32, 32, 1, groups=4), conv(32, 32, groups=32), conv(32, 32, 1, groups=4)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.head(pooled(x + self.b(self.depthwise(shuffled(self.a(x), 4)))))
        return y


class ShuffleNetV2(nn.Module):
    """Version 2: half of the channels pass, then both halves are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.last, self.head = conv(3, 32), conv(16, 16), conv(32, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).chunk(2, 1)
        y: Tensor = self.head(pooled(self.last(shuffled(torch.cat([a, self.body(b)], 1), 2))))
        return y


class GroupedHeads(nn.Module):
    """Several grouped convolutions in a row, transposed ones among them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = conv(3, 16), nn.Conv2d(16, 32, 3, groups=2)
        self.b, self.head = nn.ConvTranspose2d(32, 16, 2, 2, groups=2), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(torch.relu(self.b(torch.relu(self.a(self.stem(x))))))
        return y


class GhostNet(nn.Module):
    """Half of the channels are cheap copies of the others by a depthwise convolution of two outputs each."""

    def __init__(self) -> None:
        super().__init__()
        self.primary, self.cheap = conv(3, 16), nn.Conv2d(16, 32, 3, padding=1, groups=16)
        self.join, self.head = conv(48, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        y: Tensor = self.head(pooled(self.join(torch.cat([x, self.cheap(x)], 1))))
        return y


MOBILE = {
    "mobilenet_v2": Entry(mobilenet, images(), 0.6),
    "mobilenet_v3_squeeze_excite": Entry(lambda: mobilenet(gated=True), images(), 0.6),
    "shufflenet": Entry(ShuffleNet, images(), 0.5),
    "shufflenet_v2": Entry(ShuffleNetV2, images(), 0.5),
    "grouped_convolutions": Entry(GroupedHeads, images(), 0.5),
    "ghostnet": Entry(GhostNet, images(), 0.5),
}
