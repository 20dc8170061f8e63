"""A library whose function builds models by the name of an architecture, as timm does; two that it can say, one not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError("dim should be divisible by num_heads")
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # [N, T, C]
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        y: Tensor = self.proj(seen.reshape(n, t, self.num_heads * self.head_dim))
        return y


class Block(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), Attention(dim, num_heads), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, int(dim * mlp_ratio)), nn.GELU(), nn.Linear(int(dim * mlp_ratio), dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    def __init__(
        self,
        img_size: int = 32,
        patch_size: int = 8,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 192,
        depth: int = 12,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_chans, embed_dim, patch_size, patch_size)
        self.pos_embed = nn.Parameter(torch.randn(1, (img_size // patch_size) ** 2, embed_dim))
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads, mlp_ratio) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(embed_dim), nn.Linear(embed_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        y: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return y


class ConvBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_dw, self.norm = nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim)
        self.fc1, self.fc2 = nn.Conv2d(dim, 4 * dim, 1), nn.Conv2d(4 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.fc2(functional.gelu(self.fc1(self.norm(self.conv_dw(x)))))
        return y


class ConvNet(nn.Module):
    def __init__(
        self, depths: tuple[int, ...] = (3, 3, 9), dims: tuple[int, ...] = (96, 192, 384), num_classes: int = 1000
    ) -> None:
        super().__init__()
        stages, before = [], 3
        for depth, dim in zip(depths, dims, strict=True):
            stages.append(nn.Sequential(nn.Conv2d(before, dim, 2, 2), *(ConvBlock(dim) for _ in range(depth))))
            before = dim
        self.stages, self.head = nn.Sequential(*stages), nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.stages(x).mean((2, 3)))
        return y


class FixedStem(ConvNet):
    """Its first convolution has a width that no argument says."""

    def __init__(self, dims: tuple[int, ...] = (96, 192, 384), num_classes: int = 1000) -> None:
        super().__init__((1, 1, 1), dims, num_classes)
        self.stem = nn.Conv2d(3, 24, 3, padding=1)
        self.back = nn.Conv2d(24, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.back(torch.relu(self.stem(x))))


ENTRYPOINTS: dict[str, Any] = {
    "vit_small": lambda **given: VisionTransformer(**{"embed_dim": 96, "depth": 4, "num_heads": 6, **given}),
    "convnet_small": lambda **given: ConvNet(**{"depths": (2, 2, 4), "dims": (16, 32, 64), **given}),
    "fixed_stem": lambda **given: FixedStem(**{"dims": (16, 32, 64), **given}),
}


def create_model(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    model: nn.Module = ENTRYPOINTS[model_name](**kwargs)
    model.pretrained_cfg = {"architecture": model_name}  # type: ignore[assignment]
    return model
