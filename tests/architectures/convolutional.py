"""Image classifiers built of convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry, conv, images, linear_conv, pooled


class Vgg(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            conv(3, 16), nn.MaxPool2d(2), conv(16, 32), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(128, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10),
        )  # fmt: skip


class BasicBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(c_in, c_out, stride=stride), *linear_conv(c_out, c_out))
        self.shortcut = nn.Sequential(*linear_conv(c_in, c_out, 1, stride)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.blocks = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 32, 1))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(pooled(self.blocks(self.stem(x))))
        return y


class Bottleneck(nn.Module):
    """`groups` above 1 is ResNeXt's."""

    def __init__(self, c_in: int, width: int, groups: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(c_in, width, 1), conv(width, width, groups=groups), *linear_conv(width, 4 * width, 1)
        )
        self.shortcut = nn.Sequential(*linear_conv(c_in, 4 * width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


def bottlenecks(groups: int = 1) -> nn.Module:
    blocks = [Bottleneck(16, 16, groups), Bottleneck(64, 16, groups)]
    return nn.Sequential(conv(3, 16), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class DenseNet(nn.Module):
    def __init__(self, growth: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(16 + i * growth), nn.ReLU(), nn.Conv2d(16 + i * growth, growth, 3, padding=1))
            for i in range(4)
        )
        self.norm, self.head = nn.BatchNorm2d(16 + 4 * growth), nn.Linear(16 + 4 * growth, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        y: Tensor = self.head(pooled(functional.relu(self.norm(torch.cat(features, 1)))))
        return y


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16)
        self.one, self.three, self.pool = conv(16, 8, 1), nn.Sequential(conv(16, 12, 1), conv(12, 16)), conv(16, 8, 1)
        self.join, self.head = conv(32, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        pool = self.pool(functional.max_pool2d(x, 3, 1, 1))
        y: Tensor = self.head(pooled(self.join(torch.cat([self.one(x), self.three(x), pool], 1))))
        return y


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x.permute(0, 2, 3, 1))
        return y.permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.1))  # LayerScale

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        scaled: Tensor = self.gamma * self.down(functional.gelu(self.up(y)))
        return x + scaled.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    down = nn.Sequential(LayerNorm2d(16), nn.Conv2d(16, 32, 2, 2))
    blocks = (ConvNextBlock(16), down, ConvNextBlock(32))
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(32), nn.Linear(32, 10)
    )


class GroupNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n1, self.b, self.n2 = (
            nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.Conv2d(16, 32, 3), nn.GroupNorm(8, 32),
        )  # fmt: skip
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.n1(self.a(x)))
        y: Tensor = self.head(pooled(functional.silu(self.n2(self.b(x)))))
        return y


class SharedConv(nn.Module):
    """One module called twice, on what it made itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shared, self.head = conv(3, 16), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.head(pooled(torch.relu(self.shared(torch.relu(self.shared(x))))))
        return y


class PaddedShortcut(nn.Module):
    """ResNet's shortcut without weights: zeros beside the channels that are there."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = conv(3, 16), conv(16, 32, stride=2), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))
        y: Tensor = self.head(pooled(self.body(x) + short))
        return y


def frozen() -> nn.Module:
    return ResNet().requires_grad_(requires_grad=False)


CONVOLUTIONAL = {
    "vgg": Entry(Vgg, images(), 0.6),
    "resnet_basic": Entry(ResNet, images(), 0.6),
    "resnet_bottleneck": Entry(bottlenecks, images(), 0.6),
    "resnext_grouped": Entry(lambda: bottlenecks(4), images(), 0.6),
    "resnet_padded_shortcut": Entry(PaddedShortcut, images(), 0.1),
    "densenet": Entry(DenseNet, images(), 0.5),
    "inception": Entry(Inception, images(), 0.6),
    "convnext": Entry(convnext, images(), 0.6, plain=False),
    "groupnorm": Entry(GroupNormNet, images(), 0.6, plain=False),
    "shared_module": Entry(SharedConv, images(), 0.5),
    "frozen": Entry(frozen, images(), 0.6),
}
