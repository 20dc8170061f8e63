"""The cut: every tensor sliced in every dimension that shrinks, and modules told of their new sizes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...core.copying import copied
from ..attention import MultiheadAttention
from ..layers import TRANSPOSED
from .sets import ChannelSet, Coupled, module_of
from .trace import tensors_of_model


def slice_model(dense: nn.Module, coupled: Coupled, keep: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a smaller copy and, for each tensor that shrank, the mask `keep` of the dense one's elements."""
    along = kept_along(coupled, keep)
    originals = tensors_of_model(dense)
    made: dict[int, Tensor] = {}
    masks: dict[str, Tensor] = {}
    for name, tensor in originals.items():
        if name not in along:
            continue
        mask = torch.ones(tensor.shape, dtype=torch.bool)
        small = tensor.detach()
        for dim, kept in along[name].items():
            mask &= kept.reshape([-1 if d == dim else 1 for d in range(tensor.ndim)])
            small = small.index_select(dim, kept.nonzero().flatten().to(small.device))
        masks[name] = mask
        if id(tensor) not in made:
            own = small.contiguous()
            made[id(tensor)] = nn.Parameter(own, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else own
    memo = {id(tensor): made[id(tensor)] for tensor in originals.values() if id(tensor) in made}
    model = copied(dense, memo)  # what was sliced is taken from here, and everything that is tied stays so
    for path in {path for name in along for path in (module_of(name), name.rpartition(".")[0])}:
        module = model.get_submodule(path)
        _tell(module)
        if isinstance(module, MultiheadAttention):
            rows = [along.get(f"{path}.{own}", {}).get(0) for own in ("in_proj_weight", "q_proj_weight")]
            module.read_sizes(next((kept for kept in rows if kept is not None), None))
    return model, masks


def kept_along(coupled: Coupled, keep: Mapping[str, Tensor]) -> dict[str, dict[int, Tensor]]:
    """Return for each tensor that shrinks, and each such dimension, which indices stay. -> name: {dim: bool [n]}."""
    along: dict[str, dict[int, Tensor]] = {}
    for channels in coupled.sets:
        kept = keep.get(channels.name)
        if kept is None or bool(kept.all()):
            continue
        for slot in channels.slots:
            size = coupled.analysis.tensors[slot.tensor].shape[slot.dim]
            mask = along.setdefault(slot.tensor, {}).setdefault(slot.dim, torch.ones(size, dtype=torch.bool))
            mask[slot.positions[~kept.cpu()].flatten()] = False
    return along


def permute(model: nn.Module, channels: ChannelSet, order: Tensor) -> None:
    """Reorder the units of a set in place: unit i becomes what unit order[i] was. The model's function stays.

    `order` is int64 [U]; for a set of equal shares it may only move units within their groups.
    """
    tensors = tensors_of_model(model)
    seen: set[tuple[int, int]] = set()
    with torch.no_grad():
        for slot in channels.slots:
            tensor = tensors[slot.tensor]
            if (id(tensor), slot.dim) in seen:
                continue
            seen.add((id(tensor), slot.dim))
            source = torch.arange(tensor.shape[slot.dim])
            source[slot.positions.flatten()] = slot.positions[order.cpu()].flatten()
            tensor.copy_(tensor.index_select(slot.dim, source.to(tensor.device)))


def _tell(module: nn.Module) -> None:
    """Write the new sizes into torch's own layers, as their weights have them."""
    weight = _weight_of(module)
    shape = tuple(weight.shape) if isinstance(weight, Tensor) else ()
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.modules.conv._ConvNd):  # noqa: SLF001 - the common base of all convolutions
        transposed = isinstance(module, TRANSPOSED)
        if module.groups > 1 and module.in_channels == module.groups:  # depthwise
            times = module.out_channels // module.groups
            module.groups = shape[0] if transposed else shape[0] // times
        ins, outs = (shape[0], shape[1] * module.groups) if transposed else (shape[1] * module.groups, shape[0])
        module.in_channels, module.out_channels = ins, outs
    elif isinstance(module, nn.modules.batchnorm._NormBase):  # noqa: SLF001 - batch and instance normalisation
        first = module.running_mean if module.running_mean is not None else weight
        if isinstance(first, Tensor):
            module.num_features = len(first)
    elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        module.normalized_shape = shape
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = shape[0]
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        module.embedding_dim = shape[1]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = shape[0]
    elif isinstance(module, nn.RNNCellBase):
        module.input_size, module.hidden_size = module.weight_ih.shape[1], module.weight_hh.shape[1]
    elif isinstance(module, nn.RNNBase):
        first, hidden = module.weight_ih_l0, module.weight_hh_l0
        assert isinstance(first, Tensor)
        assert isinstance(hidden, Tensor)
        module.input_size, module.hidden_size = first.shape[1], hidden.shape[1]
        module._init_flat_weights()  # noqa: SLF001 - the list of weights that its kernels take


def _weight_of(module: nn.Module) -> Any:
    """Return the weight, or what an old hook (weight_norm, spectral_norm, prune) will compute its next value from."""
    own = module._parameters  # noqa: SLF001
    hooked = next((own[name] for name in ("weight_orig", "weight_v") if own.get(name) is not None), None)
    return getattr(module, "weight", None) if hooked is None else hooked
