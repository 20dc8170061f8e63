"""Attention that may have fewer heads than its width has room for, which torch's own class does not allow."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..core.copying import copied


class MultiheadAttention(nn.Module):
    """Attend as `nn.MultiheadAttention` does, with `num_heads` heads of width `head_dim` each, however many.

    Arguments, outputs and the names in `state_dict` are those of torch's class; `head_dim` and `scale` are new, and
    there are no `add_bias_kv` and `add_zero_attn`. In `nn.TransformerEncoderLayer` it runs as written here: torch's
    fused encoder layers, which know torch's class alone, are not used. `scale` multiplies the scores, by default
    1/sqrt(head_dim); it stays when heads become narrower.
    """

    _qkv_same_embed_dim = False  # torch's encoder layers ask for it: their fused path needs one width for everything

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        head_dim: int | None = None,
        dropout: float = 0.0,
        *,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, head_dim or embed_dim // num_heads
        self.kdim, self.vdim = (embed_dim if dim is None else dim for dim in (kdim, vdim))
        self.scale = self.head_dim**-0.5 if scale is None else scale
        self.dropout, self.batch_first = dropout, batch_first
        inner = self.num_heads * self.head_dim
        packed = self.kdim == self.vdim == embed_dim

        def weight(*shape: int) -> nn.Parameter:
            made = torch.empty(shape, device=device, dtype=dtype)
            return nn.Parameter(nn.init.xavier_uniform_(made) if len(shape) > 1 else made.zero_())

        self.in_proj_weight = weight(3 * inner, embed_dim) if packed else None
        self.q_proj_weight = None if packed else weight(inner, embed_dim)
        self.k_proj_weight = None if packed else weight(inner, self.kdim)
        self.v_proj_weight = None if packed else weight(inner, self.vdim)
        self.in_proj_bias = weight(3 * inner) if bias else None
        self.out_proj = nn.Linear(inner, embed_dim, bias=bias, device=device, dtype=dtype)

    @classmethod
    def of(cls, original: nn.MultiheadAttention) -> MultiheadAttention:
        """Return one that computes the same with the very parameters of the original."""
        made = cls(original.embed_dim, original.num_heads, dropout=original.dropout, device="meta")
        made.kdim, made.vdim, made.batch_first = original.kdim, original.vdim, original.batch_first
        made.out_proj = original.out_proj
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias"):
            setattr(made, name, getattr(original, name))
        return made.train(original.training)

    def read_sizes(self, rows: Tensor | None) -> None:
        """Take the sizes from weights that were cut; `rows` says which of the first weight's were kept. bool [n]."""
        self.embed_dim, self.kdim, self.vdim = (each.shape[1] for each in self._projections())
        if rows is not None:
            of_query = rows[: self.num_heads * self.head_dim].reshape(self.num_heads, self.head_dim)  # [H, D]
            self.num_heads, self.head_dim = int(of_query.any(1).sum()), int(of_query.any(0).sum())

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what is attended to, and the weights if they are needed; all is shaped as torch's class has it."""
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal says what attn_mask is; give that mask too, as torch's class asks.")
        batched = query.dim() == 3
        q, k, v = self._projected(query, key, value)
        if not batched:
            q, k, v = (each.unsqueeze(0) for each in (q, k, v))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            q, k, v = (each.transpose(0, 1) for each in (q, k, v))
        q, k, v = (each.view(*each.shape[:2], self.num_heads, -1).transpose(1, 2) for each in (q, k, v))  # [B, H, T, D]
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None if causal else _merged(attn_mask, key_padding_mask, q)
        weights, dropout = None, self.dropout if self.training else 0.0
        if need_weights:
            scores = (q * self.scale) @ k.transpose(-2, -1)  # [B, H, T, S]
            weights = functional.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            made = weights @ v
            weights = weights.mean(1) if average_attn_weights else weights
        else:
            made = functional.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, scale=self.scale)
        out: Tensor = self.out_proj(made.transpose(1, 2).flatten(2))  # [B, T, E]
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def extra_repr(self) -> str:
        """Show the sizes that a cut changes."""
        return f"{self.embed_dim}, num_heads={self.num_heads}, head_dim={self.head_dim}, batch_first={self.batch_first}"

    def _projections(self) -> tuple[Tensor, Tensor, Tensor]:
        if self.in_proj_weight is not None:
            q, k, v = self.in_proj_weight.chunk(3)
            return q, k, v
        assert self.q_proj_weight is not None
        assert self.k_proj_weight is not None
        assert self.v_proj_weight is not None
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        if query is key is value and self.in_proj_weight is not None:
            return functional.linear(query, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        given = zip((query, key, value), self._projections(), biases, strict=True)
        return tuple(functional.linear(x, weight, bias) for x, weight, bias in given)


def _merged(attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor) -> Tensor | None:
    """Add the masks [T, S] or [B*H, T, S] and [B, S] up, to what is added to the scores [B, H, T, S]."""
    merged = None
    if attn_mask is not None:
        own = _added(attn_mask, q.dtype)
        merged = own.reshape(*q.shape[:2], *own.shape[1:]) if own.dim() == 3 else own
    if key_padding_mask is not None:
        padding = _added(key_padding_mask, q.dtype)[:, None, None]
        merged = padding if merged is None else merged + padding
    return merged


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a mask that is added; of one in booleans, True is what is not attended to."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else mask


def with_own_attention(dense: nn.Module, kept: Collection[str] = ()) -> nn.Module:
    """Return a copy that shares its tensors and in which heads can go one by one; the model itself if it has none."""
    names = replaceable(dense, kept)
    if not names:
        return dense
    shared = {id(tensor): tensor for tensor in (*dense.parameters(), *dense.buffers())}
    model = copied(dense, shared)
    replace_attention(model, names)
    return model


def give_back_whole(small: nn.Module, dense: nn.Module, shrunk: Collection[str]) -> None:
    """Put torch's own class back where none of its tensors is among those that shrank, in place."""
    for name in replaceable(dense):
        own = small.get_submodule(name)
        if not isinstance(own, MultiheadAttention) or any(tensor.startswith(f"{name}.") for tensor in shrunk):
            continue
        original, left = dense.get_submodule(name), dict(own.named_parameters())
        memo: dict[int, Tensor] = {id(tensor): left[key] for key, tensor in original.named_parameters()}
        small.set_submodule(name, copied(original, memo))
    for name, encoder in dense.named_modules():
        small_encoder = small.get_submodule(name)
        if isinstance(encoder, nn.TransformerEncoder) and isinstance(small_encoder, nn.TransformerEncoder):
            replaced = any(isinstance(module, MultiheadAttention) for module in small_encoder.modules())
            small_encoder.use_nested_tensor = encoder.use_nested_tensor and not replaced


def replaced_in(small: nn.Module) -> list[str]:
    return [name for name, module in small.named_modules() if isinstance(module, MultiheadAttention)]


def replaceable(model: nn.Module, kept: Collection[str] = ()) -> list[str]:
    """Name the modules that `MultiheadAttention` can stand for, under each of their names: torch's own class as is."""
    return [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if name and name not in kept and type(module) is nn.MultiheadAttention and _plain(module)
    ]


def _plain(module: nn.MultiheadAttention) -> bool:
    hooked = any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())  # noqa: SLF001
    return module.bias_k is None and not module.add_zero_attn and not hooked


def replace_attention(model: nn.Module, names: Collection[str]) -> None:
    """Put `MultiheadAttention` in place of the named modules, in place; the parameters are the very same."""
    made: dict[nn.Module, nn.Module] = {}
    for name in names:
        original = model.get_submodule(name)
        assert isinstance(original, nn.MultiheadAttention)
        made.setdefault(original, MultiheadAttention.of(original))
        model.set_submodule(name, made[original])
    for encoder in model.modules():  # torch's own would hand nested tensors to its fused layers
        if isinstance(encoder, nn.TransformerEncoder) and any(module in made.values() for module in encoder.modules()):
            encoder.use_nested_tensor = False
