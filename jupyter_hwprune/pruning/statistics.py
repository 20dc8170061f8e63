"""Statistics of a layer's inputs over the calibration data: their Gram matrix, or only their norms.

The columns are those of the layer's weight as `layers.as_matrix` reads it: [K, taps, C/g] flattened to [K, D]. A row is
the input of one output value: for a convolution, the window under one output position.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from .layers import TRANSPOSED

GRAM_LIMIT_BYTES = 2 << 30
CHUNK_BYTES = 64 << 20
CONSTANT = 1e-5  # of an input's square is variance, no more than float32 has rounded away
PANEL = 512  # columns of one product; what lies below the diagonal is mirrored


@dataclass(frozen=True)
class Statistics:
    rows: int  # how many input vectors there were
    norms: Tensor  # [groups, D], the root of the Gram matrix's diagonal
    means: Tensor  # [groups, D]
    gram: Tensor | None  # [groups, D, D]

    def centred_gram(self) -> Tensor:
        """Return the Gram matrix of the inputs less their means, which a bias can make up for. -> [groups, D, D]."""
        assert self.gram is not None
        centred = torch.baddbmm(self.gram, self.means[:, :, None], self.means[:, None, :], alpha=-self.rows)
        before, after = (each.diagonal(dim1=1, dim2=2) for each in (self.gram, centred))
        constant = after <= CONSTANT * before  # [groups, D]; all mean: zeros, so that nothing is left of its rounding
        return centred.masked_fill_(constant[:, :, None] | constant[:, None, :], 0.0)


class Accumulator:
    """Sums the statistics of one layer over the calls whose inputs it is given, in float32."""

    def __init__(self, layer: nn.Module, *, gram: bool, width: int | None = None) -> None:
        self.layer, self.rows = layer, 0
        groups, width = shape_of(layer, width)
        self.sums = torch.zeros((groups, width, width) if gram else (groups, width))
        self.inputs = torch.zeros(groups, width)

    def add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for rows in input_rows(self.layer, args, kwargs):  # [g, R, D]
            self.rows += rows.shape[1]
            self.inputs += rows.sum(1)
            if self.sums.ndim == 2:
                self.sums += rows.square().sum(1)
                continue
            width = rows.shape[2]
            for start in range(0, width, PANEL):
                panel = slice(start, start + PANEL)
                self.sums[:, panel, start:].baddbmm_(rows[:, :, panel].mT, rows[:, :, start:])

    def statistics(self) -> Statistics:
        means = self.inputs / max(self.rows, 1)
        if self.sums.ndim == 2:
            return Statistics(self.rows, self.sums.sqrt(), means, None)
        for start in range(0, self.sums.shape[1], PANEL):  # to the bit: a product may round (i, j) unlike (j, i)
            panel = slice(start, start + PANEL)
            self.sums[:, panel, :start] = self.sums[:, :start, panel].mT
            upper = self.sums[:, panel, panel].triu()
            self.sums[:, panel, panel] = upper + upper.triu(1).mT
        return Statistics(self.rows, self.sums.diagonal(dim1=1, dim2=2).sqrt(), means, self.sums)


def shape_of(layer: nn.Module, width: int | None = None) -> tuple[int, int]:
    """Return the groups of a layer, and the width D of the vectors that each of its outputs is the product of.

    For a product that is no Linear of torch's, `width` says how wide its input is.
    """
    if width is not None:
        return 1, width
    if isinstance(layer, nn.Linear):
        return 1, layer.in_features
    conv = cast("nn.Conv2d", layer)
    return conv.groups, conv.in_channels // conv.groups * conv.weight[0, 0].numel()


def same_rows(one: nn.Module, other: nn.Module) -> bool:
    """Say whether two layers read the same input as the same vectors; for a ConvTranspose each call decides."""
    names = ("in_features", "in_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    alike = all(getattr(one, name, None) == getattr(other, name, None) for name in names)
    return alike and not isinstance(one, TRANSPOSED) and not isinstance(other, TRANSPOSED)


def reason_too_wide(layer: nn.Module, width: int | None = None) -> str | None:
    """Say why no Gram matrix is made for this layer; None where one can be."""
    groups, width = shape_of(layer, width)
    size = groups * width * width * 4
    if size <= GRAM_LIMIT_BYTES:
        return None
    return (
        f"the Gram matrix of its {width} inputs would take {size / (1 << 30):.1f} GiB, and "
        f"{GRAM_LIMIT_BYTES >> 30} GiB is the most; use --importance activation, which needs norms alone, or magnitude"
    )


def input_rows(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Yield a call's input as float32 vectors [groups, R, D], in pieces of at most about 64 MiB."""
    x: Tensor = (args[0] if args else kwargs["input"]).detach()
    if not isinstance(layer, nn.modules.conv._ConvNd):  # noqa: SLF001 - the common base of all convolutions
        for piece in torch.split(x.reshape(-1, x.shape[-1]), max(1, CHUNK_BYTES // (4 * x.shape[-1]))):
            yield piece.float()[None]
        return
    conv = cast("nn.Conv2d", layer)
    taps = conv.kernel_size
    if x.ndim == len(taps) + 1:
        x = x[None]
    if isinstance(layer, TRANSPOSED):
        size = args[1] if len(args) > 1 else kwargs.get("output_size")
        x, strides = _spread(conv, x, size), (1,) * len(taps)
    else:
        x, strides = _padded(conv, x), conv.stride
    for dim, (tap, step, gap) in enumerate(zip(taps, strides, conv.dilation, strict=True), start=2):
        x = x.unfold(dim, gap * (tap - 1) + 1, step)  # [N, C, .., outputs, .., window]
    x = x[_every(conv.dilation)]  # [N, C, *outputs, *taps], a view
    groups, width = shape_of(layer)
    x = x.reshape(len(x), groups, -1, *x.shape[2:]).movedim(2, -1).movedim(1, 0)  # [g, N, *outputs, *taps, C/g]
    flipped = tuple(range(-1 - len(taps), -1)) if isinstance(layer, TRANSPOSED) else ()
    line = max(1, 4 * groups * width * x.shape[3 : 2 + len(taps)].numel())
    for images in torch.split(x, max(1, CHUNK_BYTES // max(1, line * x.shape[2])), dim=1):
        for piece in torch.split(images, max(1, CHUNK_BYTES // line), dim=2):
            yield piece.flip(flipped).reshape(groups, -1, width).float()


def _padded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    if conv.padding == "valid":
        return x
    if conv.padding == "same":
        sides = [(reach // 2, reach - reach // 2) for reach in _reach(conv)]
    else:
        sides = [(side, side) for side in cast("tuple[int, ...]", conv.padding)]
    return F.pad(x, _for_pad(sides), mode="constant" if conv.padding_mode == "zeros" else conv.padding_mode)


def _spread(conv: nn.Conv2d, x: Tensor, output_size: Any) -> Tensor:
    """Set zeros between and around the inputs of a ConvTranspose: with flipped taps it is then a plain convolution."""
    stuffed = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], conv.stride, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *stuffed)
    spread[_every(conv.stride)] = x
    starts = [reach - cast("int", padding) for reach, padding in zip(_reach(conv), conv.padding, strict=True)]
    ends = [start + more for start, more in zip(starts, conv.output_padding, strict=True)]
    if output_size is not None:
        sizes = zip(output_size[-len(stuffed) :], conv.padding, stuffed, strict=True)
        ends = [size + cast("int", padding) - own for size, padding, own in sizes]
    return F.pad(spread, _for_pad(zip(starts, ends, strict=True)))


def _reach(conv: nn.Conv2d) -> list[int]:
    """Return how far the last tap is from the first one, in each dimension."""
    return [gap * (tap - 1) for gap, tap in zip(conv.dilation, conv.kernel_size, strict=True)]


def _for_pad(sides: Iterable[tuple[int, int]]) -> list[int]:
    """Order the sides as F.pad wants them: from the last dimension to the first."""
    return [each for pair in reversed(list(sides)) for each in pair]


def _every(steps: Sequence[int]) -> Any:
    """Index every so many places of the last dimensions."""
    return (..., *(slice(None, None, step) for step in steps))
