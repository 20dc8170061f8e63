"""Reduce a keep mask to a small picture: density tiles, and a corner of the mask itself."""

import base64

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..report import Picture

TILES = 32  # along each side, fewer for a smaller matrix
CORNER = 32  # density alone cannot tell 2:4 from half of the weights removed at random; the corner can


def draw(keep: Tensor) -> Picture:
    """Reduce a mask [rows, columns] to its picture; time and memory of one pass over the mask."""
    rows, columns = keep.shape
    tile_rows, tile_columns = min(rows, TILES), min(columns, TILES)
    density = functional.adaptive_avg_pool2d(keep.float()[None, None], (tile_rows, tile_columns))[0, 0]
    tiles = _base64((density * 255).round().to(torch.uint8).cpu().numpy())
    corner = _base64(np.packbits(keep[:CORNER, :CORNER].cpu().numpy(), axis=1))
    return Picture(rows, columns, tile_rows, tile_columns, tiles, min(rows, CORNER), min(columns, CORNER), corner)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
