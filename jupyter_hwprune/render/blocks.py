"""Draw bars and masks in block characters, for viewers that drop styles and pictures, such as GitHub's."""

import numpy as np

from ..report import Layer, Picture
from ..report.words import name, valid
from ..report.words.numbers import share
from .fit import corner_of, pool, tiles_of

BAR_LETTERS = 10
EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES = " ░▒▓█"  # share of a tile kept: none, up to 1/4, 1/2, 3/4, all; tiles are rounded to 1/255
HALVES = np.array([[" ", "▄"], ["▀", "█"]])  # [upper weight kept][lower weight kept]
LEGEND = "Left the density of tiles, from none kept (blank) to all (full); right a corner of the mask, two rows a line."
MOST_LINES, MOST_TILES = 8, 32


def bar(value: float, longest: float) -> str:
    """Return a bar of at most ten characters; any value above 0 is visible."""
    eighths = max(1, round(8 * BAR_LETTERS * value / longest))
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def mask(layer: Layer, picture: Picture) -> str:
    """Return a layer's density tiles and, beside them, the corner of its mask."""
    tiles, corner = _tiles(picture), _corner(picture)
    lines = max(len(tiles), len(corner))
    beside = zip(_framed(tiles, lines), _framed(corner, lines), strict=True)
    shape = f"{picture.rows} x {picture.columns}"
    head = f"{name(layer, 40)}, {shape}, {share(1 - layer.sparsity)} kept, valid: {valid(layer)}"
    return "\n".join([head, *(f"{left}  {right}".rstrip() for left, right in beside)])


def _tiles(picture: Picture) -> list[str]:
    tiles = tiles_of(picture)
    small = pool(tiles, min(MOST_LINES, picture.tile_rows), min(MOST_TILES, picture.tile_columns))
    return ["".join(SHADES[step] for step in row) for row in np.ceil(4 * small - 0.01).astype(int)]


def _corner(picture: Picture) -> list[str]:
    """Draw two rows of weights per line."""
    corner = corner_of(picture)[: 2 * MOST_LINES]
    upper, lower = corner[::2], np.zeros_like(corner[::2])
    lower[: len(corner) // 2] = corner[1::2]
    return ["".join(row) for row in HALVES[upper.astype(int), lower.astype(int)]]


def _framed(rows: list[str], lines: int) -> list[str]:
    """Frame rows of equal length left and right, and fill up with blank lines."""
    return [f"│{row}│" for row in rows] + [" " * (len(rows[0]) + 2)] * (lines - len(rows))
