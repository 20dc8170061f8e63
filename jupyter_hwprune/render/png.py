"""Draw the masks as a picture: each layer's density tiles, next to a magnified corner of its mask."""

from __future__ import annotations

import io
import warnings
from typing import Any

from ..report import Layer, Report, words
from ..report.words.numbers import share
from .fit import corner_of, tiles_of

MOST_LAYERS = 12
ACROSS = 3
CELL_INCH = (3.5, 1.85)  # one layer: tiles, corner and their captions
HEAD_INCH = 0.8
TITLE_PT = 108  # over the characters of a line: the size at which they fill an inch of width
INK, PAPER, FAINT = "#1b1b1b", "#ffffff", "#6b6b6b"
DENSITY = "cividis"  # readable with every kind of colour vision
KEPT, GONE = "#fde737", "#00224e"  # that map's two ends


def render(report: Report, most_bytes: int) -> bytes | None:
    """Return a PNG of at most `most_bytes`, with fewer layers if needed; None if not even one fits."""
    drawn = [layer for layer in words.by_weight(report) if layer.picture is not None]
    shown = min(len(drawn), MOST_LAYERS)
    while shown:
        png = _draw(report, drawn[:shown], len(report.layers))
        if len(png) <= most_bytes:
            return png
        shown = shown * 2 // 3
    return None


def _draw(report: Report, layers: list[Layer], total: int) -> bytes:
    # use Figure and canvas directly: pyplot would start a backend and add to the user's open figures
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = -(-len(layers) // ACROSS)
    across = -(-len(layers) // down)
    width, height = CELL_INCH[0] * across, CELL_INCH[1] * down + HEAD_INCH
    figure = Figure(figsize=(max(width, 6.0), height), dpi=96, facecolor=PAPER)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        down,
        2 * across,
        left=0.02,
        right=0.98,
        top=1 - HEAD_INCH / height,
        bottom=0.25 / height,
        wspace=0.12,
        hspace=0.36,
    )
    for index, layer in enumerate(layers):
        row, column = divmod(index, across)
        _layer(figure, grid[row, 2 * column], grid[row, 2 * column + 1], layer)
    more = f"; the {len(layers)} costliest of {total} layers" if total > len(layers) else ""
    legend = f"left: density of tiles, from none kept (dark) to all (light); right: corner of the mask{more}"
    title = f"{words.what(report)}: {words.headline(report)}"
    _write(figure, 1 - 0.2 / height, title, min(10, TITLE_PT * figure.get_figwidth() / len(title)), bold=True)
    _write(figure, 1 - 0.42 / height, legend, 7.5, bold=False)
    return _compact(figure)


def _layer(figure: Any, left: Any, right: Any, layer: Layer) -> None:
    from matplotlib.colors import ListedColormap

    picture = layer.picture
    assert picture is not None
    tiles, corner = figure.add_subplot(left), figure.add_subplot(right)
    tiles.imshow(tiles_of(picture), cmap=DENSITY, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    corner.imshow(
        corner_of(picture), cmap=ListedColormap([GONE, KEPT]), vmin=0, vmax=1, interpolation="nearest", aspect="auto"
    )
    for axes in (tiles, corner):
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=FAINT, linewidth=0.6)
    title = {
        "fontsize": 7.5,
        "color": INK,
        "family": "DejaVu Sans",
        "usetex": False,
        "parse_math": False,
        "loc": "left",
        "pad": 3,
    }
    tiles.set_title(words.name(layer, 24), fontweight="bold", **title)
    corner.set_title(f"{share(1 - layer.sparsity)} kept, valid: {words.valid(layer)}", **title)
    size = {
        "fontsize": 6.5,
        "color": FAINT,
        "family": "DejaVu Sans",
        "usetex": False,
        "parse_math": False,
        "labelpad": 2,
    }
    tiles.set_xlabel(f"{picture.rows} x {picture.columns}", **size)
    corner.set_xlabel(f"{picture.corner_rows} x {picture.corner_columns} of them", **size)


def _write(figure: Any, y: float, said: str, size: float, *, bold: bool) -> None:
    weight = "bold" if bold else "normal"
    figure.text(
        0.02,
        y,
        said,
        fontsize=size,
        color=INK,
        fontweight=weight,
        family="DejaVu Sans",
        usetex=False,
        parse_math=False,
        va="center",
    )


def _compact(figure: Any) -> bytes:
    """Save with a palette: the picture has few colours, and a notebook stores it twice."""
    from PIL import Image

    raw = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script that the font lacks
        figure.savefig(raw, format="png", facecolor=PAPER)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()
