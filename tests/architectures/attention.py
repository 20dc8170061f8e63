"""Transformers as people write them: heads by views, fused and separate projections, grouped keys, windows."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .entry import Entry, ids, images, series


class FeedForward(nn.Module):
    """`gated` is SwiGLU."""

    def __init__(self, width: int, hidden: int, *, gated: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gate = nn.Linear(width, hidden) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        up = self.up(x)
        y: Tensor = self.down(functional.gelu(up) if self.gate is None else functional.silu(self.gate(x)) * up)
        return y


class FusedQkv(nn.Module):
    """As in vision transformers: one projection, one reshape, its parts by number."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.scale = heads, width // heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(b, t, self.num_heads * self.head_dim))
        return y


class SeparateQkv(nn.Module):
    """`fixed` views by the count of heads, else by their width; `context` is what a cross-attention reads."""

    def __init__(self, width: int = 32, heads: int = 4, *, fixed: bool = False, context: int | None = None) -> None:
        super().__init__()
        self.heads, self.head_dim, self.fixed = heads, width // heads, fixed
        self.q, self.o = nn.Linear(width, width), nn.Linear(width, width)
        self.k, self.v = nn.Linear(context or width, width), nn.Linear(context or width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        b, t, _ = x.shape
        heads = self.heads if self.fixed else -1
        source = x if context is None else context
        q, k, v = (
            p(s).view(b, s.shape[1], heads, self.head_dim).transpose(1, 2)
            for p, s in ((self.q, x), (self.k, source), (self.v, source))
        )
        y: Tensor = self.o(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, -1))
        return y


class GroupedQuery(nn.Module):
    """Two heads of queries share one of keys and values; positions turn them (RoPE)."""

    def __init__(self, width: int = 32, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        self.head_dim, self.repeat = width // heads, heads // groups
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, groups * self.head_dim, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (p(x).view(b, t, -1, self.head_dim).transpose(1, 2) for p in (self.q, self.k, self.v))
        q, k = self.turned(q), self.turned(k)
        k, v = (self.repeated(each) for each in (k, v))
        y: Tensor = self.o(
            functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, -1)
        )
        return y

    def turned(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[2])[:, None] / 100 ** (torch.arange(self.head_dim) / self.head_dim)
        first, second = x.chunk(2, -1)
        return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()

    def repeated(self, x: Tensor) -> Tensor:
        b, h, t, d = x.shape
        return x[:, :, None].expand(b, h, self.repeat, t, d).reshape(b, h * self.repeat, t, d)


class EinsumAttention(nn.Module):
    """Projections are bare parameters of three axes."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(width, heads, width // heads) * 0.2) for _ in range(3))
        self.o = nn.Parameter(torch.randn(heads, width // heads, width) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("btc,chd->bhtd", x, p) for p in (self.q, self.k, self.v))
        weights = (torch.einsum("bhtd,bhsd->bhts", q, k) * 0.35).softmax(-1)
        return torch.einsum("bhts,bhsd,hdc->btc", weights, v, self.o)


class NormedHeads(nn.Module):
    """Queries and keys are normalised within each head."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.n_head, self.head_dim = heads, width // heads
        self.attn, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.split_size = width
        self.q_norm, self.k_norm = nn.LayerNorm(self.head_dim), nn.RMSNorm(self.head_dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (
            p.view(b, t, self.n_head, self.head_dim).transpose(1, 2) for p in self.attn(x).split(self.split_size, -1)
        )
        mixed = functional.scaled_dot_product_attention(self.q_norm(q), self.k_norm(k), v)
        y: Tensor = self.proj(mixed.transpose(1, 2).contiguous().view(b, t, self.split_size))
        return y


class HandRmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class HandLayerNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
        return self.weight * (x - mean) / torch.sqrt(variance + 1e-5) + self.bias


class Block(nn.Module):
    def __init__(
        self, attention: nn.Module, *, norm: type[nn.Module] = nn.LayerNorm, gated: bool = False, width: int = 32
    ) -> None:
        super().__init__()
        self.attention, self.feed = attention, FeedForward(width, 2 * width, gated=gated)
        self.norm1, self.norm2 = norm(width), norm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.feed(self.norm2(x))
        return y


class Language(nn.Module):
    def __init__(self, *blocks: nn.Module, width: int = 32, tied: bool = False) -> None:
        super().__init__()
        self.tokens, self.blocks = nn.Embedding(50, width), nn.Sequential(*blocks)
        self.head = nn.Linear(width, 50, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.tokens(tokens)))
        return y


class Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.class_token, self.positions = nn.Parameter(torch.randn(1, 1, 32)), nn.Parameter(torch.randn(1, 17, 32))
        self.blocks = nn.Sequential(Block(FusedQkv()), Block(FusedQkv()))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return y


class CrossAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.text, self.image = nn.Embedding(50, 32), nn.Conv2d(3, 24, 4, 4)
        self.cross, self.norm = SeparateQkv(fixed=True, context=24), nn.LayerNorm(32)
        self.head = nn.Linear(32, 5)

    def forward(self, tokens: Tensor, picture: Tensor) -> Tensor:
        x = self.text(tokens)
        seen = self.image(picture).flatten(2).transpose(1, 2)
        y: Tensor = self.head(self.norm(x + self.cross(x, seen)).mean(1))
        return y


class Swin(nn.Module):
    """Attention in shifted windows with a table of relative positions for each head."""

    index: Tensor

    def __init__(self, width: int = 32, heads: int = 4, window: int = 4) -> None:
        super().__init__()
        self.window, self.num_heads, self.head_dim = window, heads, width // heads
        self.patches, self.norm, self.head = nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width), nn.Linear(width, 5)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = (place[:, :, None] - place[:, None]) + window - 1
        self.register_buffer("index", apart[0] * (2 * window - 1) + apart[1])
        self.feed, self.norm2 = FeedForward(width, 64), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)  # [B, H, W, C]
        b, h, w, c = x.shape
        n = self.window
        shifted = torch.roll(self.norm(x), (-n // 2, -n // 2), (1, 2))
        tokens = shifted.view(b, h // n, n, w // n, n, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, n * n, c)
        q, k, v = self.qkv(tokens).reshape(-1, n * n, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        bias = self.table[self.index.view(-1)].view(n * n, n * n, -1).permute(2, 0, 1)
        mixed = (q @ k.transpose(-2, -1) * self.head_dim**-0.5 + bias[None]).softmax(-1) @ v
        tokens = self.proj(mixed.transpose(1, 2).reshape(-1, n * n, self.num_heads * self.head_dim))
        back = tokens.view(b, h // n, w // n, n, n, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)
        x = x + torch.roll(back, (n // 2, n // 2), (1, 2))
        x = x + self.feed(self.norm2(x))
        y: Tensor = self.head(x.mean((1, 2)))
        return y


class AloneMha(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return y


class TorchEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.embed, self.encoder, self.head = nn.Linear(8, 32), nn.TransformerEncoder(layer, 2), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.encoder(self.embed(x)).mean(1))
        return y


class TorchDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.embed, self.decoder, self.head = nn.Embedding(50, 32), nn.TransformerDecoder(layer, 2), nn.Linear(32, 50)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        y: Tensor = self.head(self.decoder(self.embed(tokens), memory, tgt_mask=mask))
        return y


def language(make: type[nn.Module], **options: object) -> nn.Module:
    return Language(Block(make(), **options), Block(make(), **options))  # type: ignore[arg-type]


ATTENTION = {
    "vit_fused_qkv": Entry(Vit, images(), 0.6, plain=False),
    "separate_qkv_by_width": Entry(lambda: language(SeparateQkv), ids(), 0.6, plain=False),
    "separate_qkv_by_heads": Entry(
        lambda: Language(Block(SeparateQkv(fixed=True)), Block(SeparateQkv(fixed=True))), ids(), 0.6, plain=False
    ),
    "grouped_query_rope": Entry(lambda: language(GroupedQuery, gated=True), ids(), 0.6, plain=False),
    "einsum_attention": Entry(lambda: language(EinsumAttention), ids(), 0.6, plain=False),
    "split_qkv_normed_heads": Entry(lambda: language(NormedHeads), ids(), 0.6, plain=False),
    "rmsnorm_by_hand": Entry(lambda: language(SeparateQkv, norm=HandRmsNorm, gated=True), ids(), 0.6, plain=False),
    "layernorm_by_hand": Entry(lambda: language(SeparateQkv, norm=HandLayerNorm), ids(), 0.6, plain=False),
    "tied_embeddings": Entry(lambda: Language(Block(SeparateQkv()), tied=True), ids(), 0.5, plain=False),
    "cross_attention": Entry(CrossAttention, lambda: (ids()(), images()()), 0.6, plain=False),
    "swin_windows": Entry(Swin, images(), 0.5, plain=False),
    "multihead_attention_alone": Entry(AloneMha, series(), 0.4),
    "torch_transformer_encoder": Entry(TorchEncoder, series(), 0.7),
    "torch_transformer_decoder": Entry(TorchDecoder, lambda: (ids()(), torch.randn(2, 5, 32)), 0.4),
}
