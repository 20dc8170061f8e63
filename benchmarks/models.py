"""The shapes of three well-known networks, with random weights: what a benchmark needs and nothing to download.

`resnet50` is He et al. 2015 (arXiv:1512.03385), `mobilenet_v2` Sandler et al. 2018 (arXiv:1801.04381),
`bert_base` the encoder of Devlin et al. 2018 (arXiv:1810.04805) on token embeddings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight)  # by fan-in, which counts the groups: activations keep their size
    return nn.Sequential(conv, nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = conv_bn(c_in, width, 3, stride), conv_bn(width, width, 3)
        nn.init.constant_(self.second[1].get_parameter("weight"), 0.2)  # keeps a random network's activations in range
        self.shortcut = nn.Identity() if stride == 1 and c_in == width else conv_bn(c_in, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(x))) + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem, self.pool = conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)
        widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
        widths += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
        self.blocks = nn.Sequential(*(BasicBlock(*each) for each in widths))
        self.classifier = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(functional.relu(self.stem(x))))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class Bottleneck(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.reduce = conv_bn(c_in, width, 1)
        self.spatial = conv_bn(width, width, 3, stride)
        self.expand = conv_bn(width, 4 * width, 1)
        nn.init.constant_(
            self.expand[1].get_parameter("weight"), 0.2
        )  # keeps a deep random network's activations in range
        same_shape = stride == 1 and c_in == 4 * width
        self.shortcut = nn.Identity() if same_shape else conv_bn(c_in, 4 * width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.spatial(functional.relu(self.reduce(x))))
        return functional.relu(self.expand(y) + self.shortcut(x))


class ResNet50(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = conv_bn(3, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks: list[nn.Module] = []
        c_in = 64
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for i in range(depth):
                blocks.append(Bottleneck(c_in, width, stride if i == 0 else 1))
                c_in = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(c_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(functional.relu(self.stem(x))))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


class InvertedResidual(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, expand: int) -> None:
        super().__init__()
        width = c_in * expand
        widen = [conv_bn(c_in, width, 1), nn.ReLU6()] if expand > 1 else []
        self.body = nn.Sequential(
            *widen, conv_bn(width, width, 3, stride, groups=width), nn.ReLU6(), conv_bn(width, c_out, 1)
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 32, 3, 2), nn.ReLU6()]
        c_in = 32
        plan = (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
        for expand, c_out, depth, stride in plan:
            for i in range(depth):
                layers.append(InvertedResidual(c_in, c_out, stride if i == 0 else 1, expand))
                c_in = c_out
        self.features = nn.Sequential(*layers, conv_bn(c_in, 1280, 1), nn.ReLU6())
        self.classifier = nn.Linear(1280, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = (
            proj(x).view(batch, tokens, -1, self.head_dim).transpose(1, 2)  # [B, heads, T, head_dim]
            for proj in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        y: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        return y


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        y: Tensor = self.norm2(x + self.down(functional.gelu(self.up(x))))
        return y


class Bert(nn.Module):
    def __init__(self, layers: int = 12, width: int = 768, heads: int = 12, vocabulary: int = 30522) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(512, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.Sequential(*(EncoderLayer(width, heads) for _ in range(layers)))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, ids: Tensor) -> Tensor:  # [B, T]
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.layers(self.norm(self.tokens(ids) + self.positions(positions)))
        logits: Tensor = self.classifier(torch.tanh(self.pooler(x[:, 0])))
        return logits


def _images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 224, 224)


def _token_ids(batch: int) -> Tensor:
    return torch.randint(0, 30522, (batch, 128))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "resnet50": (ResNet50, _images),
    "mobilenet_v2": (MobileNetV2, _images),
    "bert_base": (Bert, _token_ids),
}
