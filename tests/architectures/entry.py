"""One network of the zoo, and what pruning half of each set of channels has to come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Entry:
    build: Callable[[], nn.Module]
    example: Callable[[], Any]  # what the model is called with: a tensor, a tuple, a dict
    gone: float = 0.0  # at least this share of the weights goes
    plain: bool = True  # it normalises over no channels: zeros alone are the mask
    refused: str = ""  # instead, the words of the error


def images(channels: int = 3, size: int = 16) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, channels, size, size)


def series(width: int = 8, length: int = 6) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, length, width)


def vectors(width: int = 8) -> Callable[[], Tensor]:
    return lambda: torch.randn(4, width)


def signals(width: int = 8, length: int = 12) -> Callable[[], Tensor]:
    return lambda: torch.randn(2, width, length)


def ids(length: int = 6, vocabulary: int = 50) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, vocabulary, (2, length))


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


def linear_conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """A convolution and its normalisation, without what follows."""
    return list(conv(c_in, c_out, kernel, stride))[:2]


def pooled(x: Tensor) -> Tensor:
    return x.mean((2, 3))
