"""Draw the masks as a picture: each layer's density tiles, next to a magnified corner of its mask."""

import io
import warnings
from typing import Any

from ..report import Layer, Picture, Report, words
from ..report.words.numbers import share
from .fit import corner_of, pictured, tiles_of

MOST_LAYERS = 12
ACROSS = 3
CELL_INCH = (3.5, 1.85)  # one layer: tiles, corner and their captions
HEAD_INCH = 0.8
TITLE_PT = 108  # over the characters of a line: the size at which they fill an inch of width
INK, PAPER, FAINT = "#1b1b1b", "#ffffff", "#6b6b6b"
DENSITY = "cividis"  # readable with every kind of colour vision
KEPT, GONE = "#fde737", "#00224e"  # that map's two ends
FONT: dict[str, Any] = {"family": "DejaVu Sans", "usetex": False, "parse_math": False}


def render(report: Report, most_bytes: int) -> bytes | None:
    """Return a PNG of at most `most_bytes`, with fewer layers if needed; None if not even one fits."""
    drawn = pictured(report)
    shown = min(len(drawn), MOST_LAYERS)
    while shown:
        png = _draw(report, drawn[:shown])
        if len(png) <= most_bytes:
            return png
        shown = shown * 2 // 3
    return None


def empty_figure(width: float, height: float) -> Any:
    """Return a figure of this size in inches, without pyplot: that starts a backend and adds to the user's figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=96, facecolor=PAPER)


def style_axes(axes: Any) -> None:
    """Give axes the look that all plots share: a faint grid behind the lines, and no frame above or to the right."""
    axes.grid(visible=True, color="#e8eaed", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=7.5, colors=FAINT, length=2, labelfontfamily="DejaVu Sans")
    for side, spine in axes.spines.items():
        spine.set(color=FAINT, linewidth=0.6, visible=side in {"left", "bottom"})


def _draw(report: Report, layers: list[tuple[Layer, Picture]]) -> bytes:
    down = -(-len(layers) // ACROSS)
    across = -(-len(layers) // down)
    width, height = max(CELL_INCH[0] * across, 6.0), CELL_INCH[1] * down + HEAD_INCH
    figure = empty_figure(width, height)
    sides = {"left": 0.02, "right": 0.98, "top": 1 - HEAD_INCH / height, "bottom": 0.25 / height}
    cells = iter(figure.add_gridspec(down, 2 * across, wspace=0.12, hspace=0.36, **sides))
    for layer, picture in layers:
        _layer(figure.add_subplot(next(cells)), figure.add_subplot(next(cells)), layer, picture)
    total = len(report.layers)
    more = f"; the {len(layers)} costliest of {total} layers" if total > len(layers) else ""
    legend = f"left: density of tiles, from none kept (dark) to all (light); right: corner of the mask{more}"
    title = f"{words.what(report)}: {words.headline(report)}"
    font = FONT | {"color": INK, "va": "center"}
    size = min(10, TITLE_PT * width / len(title))
    figure.text(0.02, 1 - 0.2 / height, title, fontsize=size, fontweight="bold", **font)
    figure.text(0.02, 1 - 0.42 / height, legend, fontsize=7.5, **font)
    return compact(figure)


def _layer(tiles: Any, corner: Any, layer: Layer, picture: Picture) -> None:
    from matplotlib.colors import ListedColormap

    maps = {tiles: (tiles_of(picture), DENSITY), corner: (corner_of(picture), ListedColormap([GONE, KEPT]))}
    for axes, (values, colours) in maps.items():
        axes.imshow(values, cmap=colours, vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=FAINT, linewidth=0.6)
    title = FONT | {"fontsize": 7.5, "color": INK, "loc": "left", "pad": 3}
    tiles.set_title(words.name(layer, 24), fontweight="bold", **title)
    corner.set_title(f"{share(1 - layer.sparsity)} kept, valid: {words.valid(layer)}", **title)
    size = FONT | {"fontsize": 6.5, "color": FAINT, "labelpad": 2}
    tiles.set_xlabel(f"{picture.rows} x {picture.columns}", **size)
    corner.set_xlabel(f"{picture.corner_rows} x {picture.corner_columns} of them", **size)


def compact(figure: Any) -> bytes:
    """Save with a palette: the picture has few colours, and a notebook stores it twice."""
    from PIL import Image

    raw = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # a name in a script that the font lacks
        figure.savefig(raw, format="png", facecolor=PAPER)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, format="png", optimize=True)
    return small.getvalue()
