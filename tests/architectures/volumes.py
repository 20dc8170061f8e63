"""Networks over three axes: medical volumes and video."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry


def volumes(channels: int = 1, size: int = 8) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, channels, size, size, size)


def conv3(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(c_in, c_out, kernel, stride, kernel // 2), nn.BatchNorm3d(c_out), nn.ReLU())


class VNetStage(nn.Module):
    """Convolutions with PReLU, and the input added at their end."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(
                nn.Sequential(nn.Conv3d(width, width, 3, padding=1), nn.GroupNorm(4, width), nn.PReLU(width))
                for _ in range(count)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class VNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first = nn.Conv3d(1, 8, 3, padding=1), VNetStage(8, 1)
        self.down, self.deep = nn.Conv3d(8, 16, 2, 2), VNetStage(16, 1)
        self.up, self.merge, self.last = nn.ConvTranspose3d(16, 8, 2, 2), nn.Conv3d(16, 16, 1), VNetStage(16, 1)
        self.out = nn.Conv3d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(self.stem(x))
        up = self.up(functional.elu(self.deep(self.down(skip))))
        y: Tensor = self.out(self.last(self.merge(torch.cat([skip, up], 1)))).softmax(1)
        return y


class Block3d(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.a, self.b, self.norm = (
            conv3(c_in, c_out, 3, stride),
            nn.Conv3d(c_out, c_out, 3, 1, 1),
            nn.BatchNorm3d(c_out),
        )
        self.short = nn.Conv3d(c_in, c_out, 1, stride) if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.b(self.a(x)))
        return functional.relu(y + (x if self.short is None else self.short(x)))


def resnet3d() -> nn.Module:
    return nn.Sequential(
        conv3(1, 8), nn.MaxPool3d(2), Block3d(8, 8), Block3d(8, 16, 2),
        nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def autoencoder3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 8, 3, 2, 1), nn.InstanceNorm3d(8, affine=True), nn.LeakyReLU(0.1), nn.Conv3d(8, 16, 3, 2, 1),
        nn.ReLU(), nn.ConvTranspose3d(16, 8, 4, 2, 1), nn.BatchNorm3d(8), nn.ReLU(), nn.ConvTranspose3d(8, 1, 4, 2, 1),
    )  # fmt: skip


class SpaceThenTime(nn.Module):
    """(2+1)D: each 3-D convolution is one over space and one over time."""

    def __init__(self, c_in: int, c_out: int, mid: int) -> None:
        super().__init__()
        self.space, self.time = (
            nn.Conv3d(c_in, mid, (1, 3, 3), padding=(0, 1, 1)),
            nn.Conv3d(mid, c_out, (3, 1, 1), padding=(1, 0, 0)),
        )
        self.norm1, self.norm2 = nn.BatchNorm3d(mid), nn.BatchNorm3d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.space(x)))
        return functional.relu(self.norm2(self.time(x)))


def video_split() -> nn.Module:
    return nn.Sequential(
        SpaceThenTime(3, 16, 12), nn.AvgPool3d((1, 2, 2)), SpaceThenTime(16, 16, 20),
        nn.AdaptiveAvgPool3d((1, 1, 1)), nn.Flatten(1), nn.Linear(16, 4),
    )  # fmt: skip


class FramesThenRecurrence(nn.Module):
    """A 2-D network on each frame, by folding time into the batch, and a GRU over the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1))
        self.rnn, self.head = nn.GRU(24, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, clip: Tensor) -> Tensor:
        b, t, c, h, w = clip.shape
        seen = self.frame(clip.reshape(b * t, c, h, w)).mean((-2, -1))
        out, _ = self.rnn(seen.view(b, t, -1))
        y: Tensor = self.head(out[:, -1])
        return y


VOLUMES = {
    "vnet": Entry(VNet, volumes(), 0.6, plain=False),
    "resnet_3d": Entry(resnet3d, volumes(), 0.6),
    "autoencoder_3d_transposed": Entry(autoencoder3d, volumes(), 0.6),
    "video_2_plus_1_d": Entry(video_split, lambda: torch.randn(2, 3, 4, 8, 8), 0.6),
    "video_frames_gru": Entry(FramesThenRecurrence, lambda: torch.randn(2, 3, 3, 8, 8), 0.6),
}
