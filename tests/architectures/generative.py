"""Generators: diffusion networks, variational autoencoders, transposed convolutions, styles, conditions, fields."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry, conv, images, vectors


def embedded(t: Tensor, width: int = 16) -> Tensor:
    """Sines and cosines of a step. [B] -> [B, width]."""
    rates = torch.exp(-math.log(1000) * torch.arange(width // 2) / (width // 2))
    angles = t[:, None].float() * rates[None]
    return torch.cat([angles.sin(), angles.cos()], -1)


class TimedBlock(nn.Module):
    """The time is added to each channel; with `scaled` it also scales it."""

    def __init__(self, c_in: int, c_out: int, time: int = 32, *, scaled: bool = False) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, c_in), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.time, self.scaled = nn.Linear(time, 2 * c_out if scaled else c_out), scaled
        self.norm2, self.conv2 = nn.GroupNorm(4, c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        told = self.time(functional.silu(time))[:, :, None, None]
        if self.scaled:
            scale, shift = told.chunk(2, 1)
            y = self.norm2(y) * (1 + scale) + shift
        else:
            y = self.norm2(y + told)
        out: Tensor = self.skip(x) + self.conv2(functional.silu(y))
        return out


class PictureAttention(nn.Module):
    """Heads over positions; keys and values of the picture itself, or of a text of width `context`."""

    def __init__(self, width: int, heads: int = 2, context: int | None = None) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.norm, self.q = nn.GroupNorm(4, width), nn.Linear(width, width, bias=False)
        self.kv, self.out = nn.Linear(context or width, 2 * width, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.norm(x).view(b, c, h * w).transpose(1, 2)
        q = self.q(tokens).view(b, h * w, self.heads, self.head_dim).transpose(1, 2)
        k, v = self.kv(tokens if context is None else context).chunk(2, -1)
        k, v = (each.view(b, -1, self.heads, self.head_dim).transpose(1, 2) for each in (k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, -1)
        y: Tensor = self.out(mixed).transpose(1, 2).reshape(b, c, h, w)
        return x + y


class DiffusionUNet(nn.Module):
    def __init__(self, *, context: int | None = None) -> None:
        super().__init__()
        scaled = context is not None
        self.time = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32))
        self.stem, self.down1 = nn.Conv2d(3, 16, 3, padding=1), TimedBlock(16, 16, scaled=scaled)
        self.shrink, self.down2 = nn.Conv2d(16, 16, 3, 2, 1), TimedBlock(16, 32, scaled=scaled)
        self.attention, self.middle = PictureAttention(32, context=context), TimedBlock(32, 32, scaled=scaled)
        self.grow, self.up = nn.Conv2d(32, 16, 3, padding=1), TimedBlock(32, 16, scaled=scaled)
        self.norm, self.out = nn.GroupNorm(4, 16), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor, step: Tensor, context: Tensor | None = None) -> Tensor:
        time = self.time(embedded(step))
        skip = self.down1(self.stem(x), time)
        y = self.attention(self.down2(self.shrink(skip), time), context)
        y = self.middle(y, time)
        y = self.grow(functional.interpolate(y, scale_factor=2.0, mode="nearest"))
        y = self.up(torch.cat([y, skip], 1), time)
        out: Tensor = self.out(functional.silu(self.norm(y)))
        return out


class DiffusionTransformerBlock(nn.Module):
    """Shift, scale and gate of each branch come of the condition (adaLN), after norms without weights."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down, self.condition = nn.Linear(width, 64), nn.Linear(64, width), nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        a, b, c, d, e, f = self.condition(functional.silu(told)).unsqueeze(1).chunk(6, -1)
        y = self.norm1(x) * (1 + b) + a
        q, k, v = (p.unflatten(-1, (4, -1)).transpose(1, 2) for p in self.qkv(y).chunk(3, -1))
        x = x + c * self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        y = self.norm2(x) * (1 + e) + d
        out: Tensor = x + f * self.down(functional.gelu(self.up(y), approximate="tanh"))
        return out


class DiffusionTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.kinds, self.time = nn.Conv2d(3, 32, 4, 4), nn.Embedding(10, 32), nn.Linear(16, 32)
        self.block, self.norm, self.out = DiffusionTransformerBlock(), nn.LayerNorm(32), nn.Linear(32, 4 * 4 * 3)

    def forward(self, x: Tensor, step: Tensor, kind: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).mT
        y = self.out(self.norm(self.block(tokens, self.time(embedded(step)) + self.kinds(kind))))
        y = y.view(x.shape[0], 4, 4, 4, 4, 3)
        return torch.einsum("nhwpqc->nchpwq", y).reshape(x.shape[0], 3, 16, 16)


class Guess(NamedTuple):
    picture: Tensor
    mean: Tensor
    log_variance: Tensor


class ConvVae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, 3, 2), conv(16, 32, 3, 2), nn.Flatten())
        self.mean, self.log_variance, self.into = nn.Linear(512, 8), nn.Linear(512, 8), nn.Linear(8, 512)
        self.decoder = nn.Sequential(
            nn.Unflatten(1, (32, 4, 4)), nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 3, 2, 1, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Guess:
        seen = self.encoder(x)
        mean, log_variance = self.mean(seen), self.log_variance(seen)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else mean
        return Guess(self.decoder(self.into(code)), mean, log_variance)


class CodeBook(nn.Module):
    """VQ-VAE: the nearest of learned codes takes the place of each position's features."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(conv(3, 16, 3, 2), nn.Conv2d(16, 24, 3, 2, 1))
        self.codes = nn.Embedding(12, 24)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(24, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        seen = self.encoder(x).permute(0, 2, 3, 1)
        flat = seen.reshape(-1, seen.shape[-1])
        apart = flat.square().sum(1, keepdim=True) - 2 * flat @ self.codes.weight.T + self.codes.weight.square().sum(1)
        y: Tensor = self.decoder(self.codes(apart.argmin(1)).view(seen.shape).permute(0, 3, 1, 2))
        return y


def dcgan() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (8, 1, 1)), nn.ConvTranspose2d(8, 32, 4, 1, 0, bias=False), nn.BatchNorm2d(32), nn.ReLU(True),
        nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(True),
        nn.ConvTranspose2d(16, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip


class Styled(nn.Module):
    """AdaIN: statistics go, and a mapped code gives each channel others; a learned constant is where it starts."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Linear(32, 32), nn.LeakyReLU(0.2))
        self.start = nn.Parameter(torch.randn(1, 16, 4, 4))
        self.convs = nn.ModuleList([nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 16, 3, padding=1)])
        self.styles = nn.ModuleList([nn.Linear(32, 48), nn.Linear(32, 32)])
        self.out = nn.Conv2d(16, 3, 1)

    def forward(self, code: Tensor) -> Tensor:
        told = self.mapping(code)
        x = self.start.expand(code.shape[0], -1, -1, -1)
        for layer, style in zip(self.convs, self.styles, strict=True):
            x = functional.interpolate(functional.leaky_relu(layer(x), 0.2), scale_factor=2)
            scale, shift = style(told).unsqueeze(-1).unsqueeze(-1).chunk(2, 1)
            x = functional.instance_norm(x) * (1 + scale) + shift
        y: Tensor = self.out(x)
        return y


class CycleGenerator(nn.Module):
    """Style transfer: reflected borders, instance norms, residual blocks, transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 16, 7), nn.InstanceNorm2d(16), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.InstanceNorm2d(32, affine=True), nn.ReLU())
        self.block = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(32, 32, 3), nn.InstanceNorm2d(32), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(32, 32, 3), nn.InstanceNorm2d(32),
        )  # fmt: skip
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.InstanceNorm2d(16), nn.ReLU())
        self.out = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(16, 3, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(self.into(x))
        y: Tensor = self.out(self.up(x + self.block(x)))
        return y


class Film(nn.Module):
    """A question scales and shifts the channels of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.width, self.question = 16, nn.Sequential(nn.Linear(8, 24), nn.ReLU())
        self.stem, self.body, self.told = conv(3, 16), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(24, 32)
        self.norm, self.head = nn.BatchNorm2d(16, affine=False), nn.Linear(16, 4)

    def forward(self, picture: Tensor, question: Tensor) -> Tensor:
        x = self.stem(picture)
        scale, shift = torch.split(self.told(self.question(question)), self.width, dim=1)
        y = functional.relu(scale[..., None, None] * self.norm(self.body(x)) + shift[..., None, None])
        out: Tensor = self.head((x + y).amax((2, 3)))
        return out


class HyperNetwork(nn.Module):
    """The weights of a small network are another's output; what it hides itself can go."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.hidden = hidden
        self.maker = nn.Sequential(nn.Linear(8, 48), nn.ReLU(), nn.Linear(48, 8 * hidden + hidden * 3))

    def forward(self, condition: Tensor, x: Tensor) -> Tensor:
        made = self.maker(condition)
        first, second = made.split([8 * self.hidden, self.hidden * 3], 1)
        hidden = torch.relu(torch.bmm(x.unsqueeze(1), first.view(-1, 8, self.hidden)))
        return torch.bmm(hidden, second.view(-1, self.hidden, 3)).squeeze(1)


class RadianceField(nn.Module):
    """NeRF in small: positions as sines, joined again in the middle, a density and a colour."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(15, width), nn.Linear(width, width), nn.Linear(width + 15, width)])
        self.density, self.feature = nn.Linear(width, 1), nn.Linear(width, width)
        self.view, self.colour = nn.Linear(width + 3, 16), nn.Linear(16, 3)

    def forward(self, point: Tensor, direction: Tensor) -> Tensor:
        waves = torch.cat([point, *(f(point * 2**i) for i in range(2) for f in (torch.sin, torch.cos))], -1)
        h = waves
        for i, layer in enumerate(self.layers):
            h = functional.relu(layer(torch.cat([waves, h], -1) if i == 2 else h))
        seen = functional.relu(self.view(torch.cat([self.feature(h), direction], -1)))
        return torch.cat([self.colour(seen).sigmoid(), self.density(h)], -1)


def at_steps() -> tuple[Tensor, Tensor]:
    return images()(), torch.tensor([3, 40])


GENERATIVE = {
    "diffusion_unet_time": Entry(DiffusionUNet, at_steps, 0.6, plain=False),
    "diffusion_unet_cross_attention": Entry(
        lambda: DiffusionUNet(context=12), lambda: (*at_steps(), torch.randn(2, 5, 12)), 0.6, plain=False
    ),
    "diffusion_transformer": Entry(
        DiffusionTransformer, lambda: (*at_steps(), torch.tensor([1, 7])), 0.2, plain=False
    ),  # norms without weights hold the residual's width in no parameter; heads and the hidden layer go
    "vae_convolutional": Entry(ConvVae, images(), 0.5),
    "vae_code_book": Entry(CodeBook, images(), 0.5),
    "gan_generator": Entry(dcgan, vectors(), 0.6),
    "style_generator": Entry(Styled, vectors(), 0.5),
    "style_transfer": Entry(CycleGenerator, images(), 0.6),
    "film": Entry(Film, lambda: (images()(), torch.randn(2, 8)), 0.5),
    "hypernetwork": Entry(HyperNetwork, lambda: (torch.randn(4, 8), torch.randn(4, 8)), 0.4),
    "radiance_field": Entry(RadianceField, lambda: (torch.randn(20, 3), torch.randn(20, 3)), 0.6),
}
