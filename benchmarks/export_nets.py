"""The networks of `benchmarks.export`: random weights, sizes that take milliseconds, and no download.

`crepe` and `crepe_tiny` are the pitch tracker of Kim et al. 2018 (arXiv:1802.06182), padded by hand as ports of it do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.models import MODELS, conv_bn


@dataclass(frozen=True)
class Network:
    build: Callable[[], nn.Module]
    inputs: Callable[[], tuple[Tensor, ...]]
    transformer: str | None = None  # its kind in onnxruntime.transformers.optimizer, where that knows it
    heads: int = 0
    width: int = 0


class Crepe(nn.Module):
    """Six convolutions over time at width 1, each after a padding of its own, then ReLU, BatchNorm, pooling."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, (c_in, c_out) in enumerate(zip((1, *channels), channels, strict=False)):
            self.convs.append(nn.Conv2d(c_in, c_out, (64 if i else 512, 1), (1 if i else 4, 1)))
            self.norms.append(nn.BatchNorm2d(c_out))
        self.classifier = nn.Linear(4 * channels[-1], 360)

    def forward(self, x: Tensor) -> Tensor:  # [N, 1024]
        x = x[:, None, :, None]
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = functional.pad(x, (0, 0, 31, 32) if i else (0, 0, 254, 254))
            x = functional.max_pool2d(norm(functional.relu(conv(x))), (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


class Same(nn.Module):
    """A convolution padded like TensorFlow's "same": one more at the end, and so by hand."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.body, self.stride = nn.Conv2d(c_in, c_out, 3, stride, groups=groups), stride
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (0, 1, 0, 1) if self.stride == 2 else (1, 1, 1, 1))
        return functional.relu(self.norm(self.body(x)))


def same_padding() -> nn.Module:
    layers: list[nn.Module] = [Same(3, 32, 2)]
    for c_in, c_out, stride in ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)):
        layers += [Same(c_in, c_in, stride, groups=c_in), conv_bn(c_in, c_out, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 100))


class BasicBlock(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(c_in, width, 3, stride), conv_bn(width, width, 3)
        self.shortcut = nn.Identity() if stride == 1 and c_in == width else conv_bn(c_in, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


def resnet18() -> nn.Module:
    blocks, c_in = [], 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        blocks += [BasicBlock(c_in, width, stride), BasicBlock(width, width, 1)]
        c_in = width
    stem = (conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def vgg() -> nn.Module:
    layers, c_in = [], 3
    for width, depth in ((64, 1), (128, 1), (256, 2), (512, 2)):
        for _ in range(depth):
            layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()]
            c_in = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 36, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 100))


class DenseLayer(nn.Module):
    def __init__(self, c_in: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(functional.relu(self.norm2(self.conv1(functional.relu(self.norm1(x))))))
        return torch.cat([x, y], 1)


def densenet() -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    c_in = 64
    for depth in (4, 6, 8):
        for _ in range(depth):
            layers.append(DenseLayer(c_in, 32))
            c_in += 32
        layers += [nn.BatchNorm2d(c_in), nn.ReLU(), nn.Conv2d(c_in, c_in // 2, 1, bias=False), nn.AvgPool2d(2)]
        c_in //= 2
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, 100))


def double(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(conv_bn(c_in, c_out, 3), nn.ReLU(), conv_bn(c_out, c_out, 3), nn.ReLU())


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 96, 192)
        pairs = list(zip((3, *widths), widths, strict=False))
        self.down = nn.ModuleList(double(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs[1:]))
        self.join = nn.ModuleList(double(2 * a, a) for a, _ in reversed(pairs[1:]))
        self.out = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for i, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(kept[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        y: Tensor = self.out(x)
        return y


class Squeezed(nn.Module):
    """An inverted residual with a gate and SiLU, as EfficientNet has them."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        wide = 4 * c_in
        self.widen, self.spatial = conv_bn(c_in, wide, 1), conv_bn(wide, wide, 5, stride, groups=wide)
        self.squeeze, self.excite = nn.Conv2d(wide, c_in // 4, 1), nn.Conv2d(c_in // 4, wide, 1)
        self.narrow, self.residual = conv_bn(wide, c_out, 1), stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.silu(self.spatial(functional.silu(self.widen(x))))
        gate = torch.sigmoid(self.excite(functional.silu(self.squeeze(wide.mean((2, 3), keepdim=True)))))
        y: Tensor = self.narrow(wide * gate)
        return x + y if self.residual else y


def efficientnet() -> nn.Module:
    plan = ((24, 24, 1), (24, 40, 2), (40, 40, 1), (40, 80, 2), (80, 80, 1), (80, 160, 2), (160, 160, 1))
    blocks = (Squeezed(*each) for each in plan)
    return nn.Sequential(
        conv_bn(3, 24, 3, 2), nn.SiLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(160, 100)
    )


class Causal(nn.Module):
    """A residual block of a temporal convolutional network: padded on the left alone, dilated."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv1d(width, width, 3, dilation=dilation) for _ in range(2))
        self.left = 2 * dilation

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first(functional.pad(x, (self.left, 0))))
        return functional.relu(x + self.second(functional.pad(y, (self.left, 0))))


def tcn() -> nn.Module:
    return nn.Sequential(nn.Conv1d(16, 96, 1), *(Causal(96, 2**i) for i in range(6)), nn.Conv1d(96, 10, 1))


def waveform() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv1d(1, 64, 80, 4), nn.BatchNorm1d(64), nn.ReLU(), nn.MaxPool1d(4)]
    for c_in, c_out in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [nn.Conv1d(c_in, c_out, 3, padding=1), nn.BatchNorm1d(c_out), nn.ReLU(), nn.MaxPool1d(4)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(512, 10))


class TextCnn(nn.Module):
    """Kim 2014 (arXiv:1408.5882): convolutions as wide as the embedding, padded along the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(5000, 256)
        self.convs = nn.ModuleList(nn.Conv2d(1, 128, (k, 256), padding=(k - 1, 0)) for k in (3, 4, 5))
        self.head = nn.Linear(384, 4)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)[:, None]
        y: Tensor = self.head(torch.cat([functional.relu(conv(x)).amax((2, 3)) for conv in self.convs], 1))
        return y


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.LSTM | nn.GRU], *, bidirectional: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(40, 192)
        self.cells = kind(192, 192, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(384 if bidirectional else 192, 30)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.cells(functional.relu(self.inner(x)))[0])
        return y


class TorchEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(80, 256), nn.Linear(256, 40)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layers(self.embed(x)))
        return y


def images(side: int = 224) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(1, 3, side, side),)


def ids(length: int = 128, *, twice: bool = False) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(torch.randint(3, 1000, (1, length)) for _ in range(2 if twice else 1))


def noise(*shape: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: (torch.randn(*shape),)


OWN: dict[str, Network] = {
    "crepe": Network(lambda: Crepe((1024, 128, 128, 128, 256, 512)), noise(1, 1024)),
    "crepe_tiny": Network(lambda: Crepe((128, 16, 16, 16, 32, 64)), noise(4, 1024)),
    "same_padding": Network(same_padding, images()),
    "resnet18": Network(resnet18, images()),
    "resnet50": Network(MODELS["resnet50"][0], images()),
    "mobilenet_v2": Network(MODELS["mobilenet_v2"][0], images()),
    "vgg": Network(vgg, images(96)),
    "densenet": Network(densenet, images()),
    "unet": Network(UNet, images(96)),
    "efficientnet": Network(efficientnet, images()),
    "tcn": Network(tcn, noise(1, 16, 512)),
    "waveform": Network(waveform, noise(1, 1, 16000)),
    "text_cnn": Network(TextCnn, ids()),
    "lstm": Network(lambda: Recurrent(nn.LSTM, bidirectional=True), noise(1, 100, 40)),
    "gru": Network(lambda: Recurrent(nn.GRU, bidirectional=False), noise(1, 100, 40)),
    "torch_encoder": Network(TorchEncoder, noise(1, 128, 80)),
}
