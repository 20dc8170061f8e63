"""Small real networks of the kinds that people prune."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(c_out), nn.ReLU())


def cnn() -> nn.Module:
    return nn.Sequential(conv(3, 32), conv(32, 48, stride=2), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(192, 10))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = conv(3, 16), nn.Sequential(conv(16, 32), conv(32, 16)), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.head((x + self.body(x)).mean((2, 3)))
        return y


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.join, self.head = conv(3, 16), conv(3, 24), conv(40, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.join(torch.cat([self.left(x), self.right(x)], 1)).mean((2, 3)))
        return y


class Mobile(nn.Module):
    """Depthwise and grouped convolutions, a squeeze-and-excitation gate, GroupNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise, self.grouped = conv(3, 32), conv(32, 32, groups=32), conv(32, 32, groups=4)
        self.gate = nn.Sequential(nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.Sigmoid())
        self.norm, self.head = nn.GroupNorm(4, 32), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.stem(x))
        x = x * self.gate(x.mean((2, 3), keepdim=True))
        y: Tensor = self.head(self.norm(self.grouped(x)).mean((2, 3)))
        return y


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = conv(3, 16), conv(16, 32, stride=2)
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.out = nn.Conv2d(32, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x)
        y: Tensor = self.out(torch.cat([a, self.up(self.deep(a))], 1))
        return y


class Attention(nn.Module):
    """`fixed_heads` views its projections by the number of heads, which has to follow when heads go."""

    def __init__(self, width: int = 32, heads: int = 4, *, fixed_heads: bool = False, named: bool = True) -> None:
        super().__init__()
        if named:
            self.num_heads = heads
        self.head_dim, self.fixed_heads = width // heads, fixed_heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        heads = self.num_heads if self.fixed_heads else -1
        q, k, v = (p(x).view(b, t, heads, self.head_dim).transpose(1, 2) for p in (self.q, self.k, self.v))
        y: Tensor = self.o(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1))
        return y


class Transformer(nn.Module):
    def __init__(self, *, fixed_heads: bool = False, named: bool = True, tied: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 32)
        self.attention = Attention(fixed_heads=fixed_heads, named=named)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 50, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        x = self.norm1(x + self.attention(x))
        y: Tensor = self.head(self.norm2(x + self.down(functional.gelu(self.up(x)))))
        return y


class TorchEncoder(nn.Module):
    """torch's own encoder layer, whose attention keeps q, k and v in one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layer(self.embed(x)).mean(1))
        return y


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.lstm, self.mid = nn.Linear(8, 32), nn.LSTM(32, 32, batch_first=True), nn.Linear(32, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(functional.relu(self.mid(self.lstm(self.inner(x))[0][:, -1])))
        return y


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.features, self.head = conv(3, 16), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.features(self.stem(x))
        return {"features": features, "logits": self.head(torch.relu(features).mean((2, 3)))}


class Gated(nn.Module):
    """A gated unit: the two halves of one layer's output meet again."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.out = nn.Linear(8, 64), nn.RMSNorm(32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        a, gate = self.inner(x).chunk(2, -1)
        y: Tensor = self.out(self.norm(a * torch.sigmoid(gate)))
        return y


class HiddenHeads(nn.Module):
    """Attention whose count of heads stands only in its code; `silent` ends its branch in zeros."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 8)
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        if silent:
            nn.init.zeros_(self.o.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        b, t, _ = x.shape
        q, k, v = (p(x).view(b, t, 4, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y: Tensor = self.head(x + self.o(mixed))
        return y


def images() -> Tensor:
    return torch.randn(2, 3, 16, 16)


def ids() -> Tensor:
    return torch.randint(0, 50, (2, 6))


def series() -> Tensor:
    return torch.randn(2, 6, 8)


ZOO: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "cnn": (cnn, images),
    "residual": (Residual, images),
    "concat": (Concat, images),
    "mobile": (Mobile, images),
    "unet": (UNet, images),
    "transformer": (Transformer, ids),
    "transformer_fixed_heads": (lambda: Transformer(fixed_heads=True), ids),
    "transformer_tied": (lambda: Transformer(tied=True), ids),
    "torch_encoder": (TorchEncoder, series),
    "recurrent": (Recurrent, series),
    "two_outputs": (TwoOutputs, images),
    "gated": (Gated, series),
}


def trained_on_digits(make: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor, Tensor]:
    """Train a network on the first 512 of scikit-learn's digits; return it with all images [N, 1, 8, 8] and labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16, torch.tensor(bunch.target)
    torch.manual_seed(0)
    order = torch.randperm(len(y))
    x, y = x[order], y[order]
    net = make()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(6):
        for rows in torch.randperm(512).tensor_split(16):
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return net.eval(), x, y
