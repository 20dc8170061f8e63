"""Compress 2:4 weights with torch on the CPU: check that they survive, and measure their size.

torch's compressor keeps two of four of any weight; only decompressing shows whether the weight held the pattern.
"""

import torch
from torch import Tensor
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)

from ..report import Compressed

ROWS_AT_ONCE = 256  # so that all of a step's temporaries stay small, whatever the weight's size


def compress(weight: Tensor, dtype: str) -> Compressed | None:
    """Compress a weight [K, C] as `dtype`; None where torch's format does not take its shape, or it holds no 2:4."""
    if dtype == "float32":  # whose sparse Tensor Cores hold 1:2
        return None
    dense_bytes = compressed_bytes = 0
    for rows in torch.split(weight.detach(), ROWS_AT_ONCE):
        stored = _stored(rows, dtype)
        try:
            values, metadata = sparse_semi_structured_from_dense_cutlass(stored)  # type: ignore[no-untyped-call]
            again = sparse_semi_structured_to_dense_cutlass(values, metadata)  # type: ignore[no-untyped-call]
        except (RuntimeError, IndexError):  # raised for rows and columns that its layout cannot hold
            return None
        if not torch.equal(again, stored):
            return None
        dense_bytes += stored.nbytes
        compressed_bytes += values.nbytes + metadata.nbytes
    return Compressed(dense_bytes, compressed_bytes)


def _stored(rows: Tensor, dtype: str) -> Tensor:
    if dtype == "int8":
        largest = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
        return (rows * (127 / largest)).round().to(torch.int8)
    if dtype == "float8":  # as the bytes it is: the format is the same for all types of one byte
        return rows.to(torch.float8_e4m3fn).view(torch.int8)
    return rows.to(getattr(torch, dtype))
