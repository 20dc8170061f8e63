"""Bars and masks in block letters, for viewers that drop styles and pictures: GitHub's is one of them."""

from __future__ import annotations

import numpy as np

from ..report import Layer, Picture
from ..report.words import name, valid
from ..report.words.numbers import share
from .fit import corner_of, pool, tiles_of

BAR_LETTERS = 10
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES = " ░▒▓█"  # none of a tile kept, up to a quarter, a half, three quarters, all; tiles come rounded to 1/255
HALVES = np.array([[" ", "▄"], ["▀", "█"]])  # the upper weight kept or gone, by the lower
LEGEND = "Left the density of tiles, from none kept (blank) to all (full); right a corner of the mask, two rows a line."
MOST_LINES, MOST_TILES = 8, 32


def bar(value: float, longest: float) -> str:
    """Return a bar of at most ten letters; anything above nothing can be seen."""
    eighths = max(1, round(8 * BAR_LETTERS * value / longest))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def mask(layer: Layer) -> str:
    """Return a layer's density tiles and, beside them, the corner of its mask; the layer has a picture."""
    picture = layer.picture
    assert picture is not None
    tiles, corner = _tiles(picture), _corner(picture)
    lines = max(len(tiles), len(corner))
    beside = zip(_framed(tiles, lines), _framed(corner, lines), strict=True)
    shape = f"{picture.rows} x {picture.columns}"
    head = f"{name(layer, 40)}, {shape}, {share(1 - layer.sparsity)} kept, valid: {valid(layer)}"
    return "\n".join([head, *(f"{left}  {right}".rstrip() for left, right in beside)])


def _tiles(picture: Picture) -> list[str]:
    tiles = tiles_of(picture)
    small = pool(pool(tiles, min(MOST_LINES, tiles.shape[0])).T, min(MOST_TILES, tiles.shape[1])).T
    return ["".join(SHADES[step] for step in row) for row in np.ceil(4 * small - 0.01).astype(int)]


def _corner(picture: Picture) -> list[str]:
    """Two rows of weights to a line."""
    corner = corner_of(picture)[: 2 * MOST_LINES]
    upper, lower = corner[::2], np.zeros_like(corner[::2])
    lower[: len(corner) // 2] = corner[1::2]
    return ["".join(row) for row in HALVES[upper.astype(int), lower.astype(int)]]


def _framed(rows: list[str], lines: int) -> list[str]:
    """Put a frame to the left and right of rows of one length, and spaces below them."""
    return [f"│{row}│" for row in rows] + [" " * (len(rows[0]) + 2)] * (lines - len(rows))
