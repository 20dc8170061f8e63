"""Make a report small enough for a notebook, and list what is left out.

Heatmaps become smaller, then fewer; then layers lose their details; layers go last, the cheapest first.
"""

import base64
import json
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..report import Layer, Picture, Report, Samples
from ..report.words import by_weight
from ..report.words.numbers import middle_cut

LONGEST_WORDS = 400
MOST_REASONS = 20
MOST_BARE = 4  # mistakes where there is room for little else
SIZES = (16, 8)  # tiles along a side, and weights along a side of the corner
FEW = 6  # heatmaps
ROOM_OF_FEW, ROOM_OF_NONE = 1.3, 1.6  # of the bytes that JSON may have beside the picture and page of many heatmaps
LONGEST_KERNEL = 40
LEFT_OUT = (
    "To keep the notebook small, {said}. All of it is in run.report; run.report.save(path) writes that to a file."
)
DETAILS = {
    "alone": "times alone",
    "served_by": "other toolchains",
    "counters": "counters",
    "compressed": "compressed sizes",
    "utilization": "shares of the peak",
}


def fit(report: Report, limit_bytes: int) -> Report:
    """Return the report, reduced only as far as its JSON needs to stay within `limit_bytes`.

    With few heatmaps or none, the report's other forms are smaller, and leave more bytes to its JSON.
    """
    whole = _bounded(report)
    pictured = (whole, *(_with_tiles(whole, size) for size in SIZES))
    for smaller in pictured:
        if _fits(smaller, limit_bytes):
            return smaller
    count, some, more = len(whole.layers), int(limit_bytes * ROOM_OF_FEW), int(limit_bytes * ROOM_OF_NONE)
    if _fits(_with_heatmaps(whole, FEW), limit_bytes):
        most = _most(count, lambda kept: _fits(_with_heatmaps(whole, kept), limit_bytes))
        return _with_heatmaps(whole, most)
    for smaller in (_with_heatmaps(whole, FEW), _in_short(whole)):
        if _fits(smaller, some):
            return smaller
    most = _most(max(count, len(whole.skipped)), lambda kept: _fits(_with_layers(whole, kept), more))
    return _with_layers(whole, most) if most else _bare(whole)


def _fits(report: Report, limit_bytes: int) -> bool:
    return len(report.to_json()) <= limit_bytes


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """Return how many of `count` fit, 0 if not even one does."""
    return bisect_left(range(1, count + 1), True, key=lambda kept: not fits(kept))


def _bounded(report: Report) -> Report:
    """Shorten texts from the user's code and from vendors, and lists of them: their length is unlimited."""
    data = json.loads(report.to_json(), object_hook=_cut)
    data["reasons"], data["omitted"] = data["reasons"][:MOST_REASONS], data["omitted"][:MOST_REASONS]
    data["mistakes"] = [each | {"layers": each["layers"][:MOST_REASONS]} for each in data["mistakes"][:MOST_REASONS]]
    data["versions"] = dict(list(data["versions"].items())[:MOST_REASONS])
    return Report.from_json(json.dumps(data))


def _cut(values: dict[str, Any]) -> dict[str, Any]:
    """Shorten every string of an object except a picture's, and replace characters that cannot be encoded."""

    def cut(key: str, value: Any) -> Any:
        if isinstance(value, str) and key not in {"tiles", "corner"}:
            return middle_cut(value, LONGEST_WORDS).encode("utf-8", "replace").decode("utf-8")
        return [cut(key, each) for each in value] if isinstance(value, list) else value

    return {middle_cut(key, LONGEST_WORDS): cut(key, value) for key, value in values.items()}


def _with_tiles(report: Report, size: int) -> Report:
    layers = [_shrink(layer, size) for layer in report.layers]
    return _with(report, layers, f"heatmaps are reduced to {size}x{size} tiles")


def _with_heatmaps(report: Report, kept: int) -> Report:
    return _with(report, _few_pictured(report, kept), _heatmaps_of(report, kept))


def _in_short(report: Report) -> Report:
    """Keep of each layer what the table shows first, with a few heatmaps."""
    details = [said for field, said in DETAILS.items() if any(getattr(layer, field) for layer in report.layers)]
    said = "; ".join([_heatmaps_of(report, FEW), *(f"layers have no {each}" for each in details)])
    return _with(report, list(map(_without_details, _few_pictured(report, FEW))), said)


def _few_pictured(report: Report, kept: int) -> list[Layer]:
    layers = by_weight(report)
    return [*(_shrink(layer, SIZES[-1]) for layer in layers[:kept]), *map(_without_picture, layers[kept:])]


def _heatmaps_of(report: Report, kept: int) -> str:
    return f"only the {kept} costliest of {len(report.layers)} layers have a heatmap"


def _with_layers(report: Report, kept: int) -> Report:
    layers = by_weight(report)
    curves = report.sensitivity and replace(report.sensitivity, curves=report.sensitivity.curves[:kept])
    fewer = replace(report, skipped=report.skipped[:kept], sensitivity=curves)
    said = []
    if kept < len(layers):
        said.append(f"only the {kept} costliest of {len(layers)} pruned layers are here")
    if kept < len(report.skipped):
        said.append(f"only {kept} of the {len(report.skipped)} that are left dense are here")
    shown = [_without_picture(_without_details(layer)) for layer in layers[:kept]]
    return _with(fewer, shown, "; ".join([*said, "there are no heatmaps, and of a layer only its main numbers"]))


def _without_picture(layer: Layer) -> Layer:
    return replace(layer, picture=None)


def _without_details(layer: Layer) -> Layer:
    """Leave out the fields of DETAILS, and cut the kernels' names."""
    kernel, pruned = (each and middle_cut(each, LONGEST_KERNEL) for each in (layer.kernel, layer.pruned_kernel))
    bare = replace(layer, alone=None, rows=None, served_by=None, counters=None, compressed=None, utilization=None)
    return replace(bare, kernel=kernel, pruned_kernel=pruned)


def _with(report: Report, layers: list[Layer], said: str) -> Report:
    return replace(report, layers=tuple(layers), omitted=(*report.omitted, LEFT_OUT.format(said=said)))


def _bare(report: Report) -> Report:
    """Keep only the findings on the whole model."""
    none = Samples((), ())
    worst = tuple(replace(each, layers=()) for each in report.mistakes[:MOST_BARE])
    bare = replace(report, skipped=(), sensitivity=None, mistakes=worst)
    if report.timed is not None:
        bare = replace(bare, measurement=replace(report.timed, dense=none, control=none, pruned=none))
    if report.corners is not None:
        rows = tuple(replace(each, samples=None) for each in report.corners.rows)
        bare = replace(bare, corners=replace(report.corners, rows=rows, left_in_float=()))
    if report.runtimes is not None:
        runtimes = tuple(replace(each, timed=None) for each in report.runtimes.rows)
        bare = replace(bare, runtimes=replace(report.runtimes, rows=runtimes))
    return _with(bare, [], "all layers are left out")


def _shrink(layer: Layer, size: int) -> Layer:
    picture = layer.picture
    if picture is None or max(picture.tile_rows, picture.tile_columns, picture.corner_columns) <= size:
        return layer
    rows, columns = min(size, picture.tile_rows), min(size, picture.tile_columns)
    pooled = (pool(tiles_of(picture), rows, columns) * 255).round().astype(np.uint8)
    corner = corner_of(picture)[:size, :size]
    bits = np.packbits(corner, axis=1)
    tiles, weights = (base64.b64encode(each.tobytes()).decode("ascii") for each in (pooled, bits))
    smaller = Picture(picture.rows, picture.columns, rows, columns, tiles, len(corner), corner.shape[1], weights)
    return replace(layer, picture=smaller)


def pictured(report: Report) -> list[tuple[Layer, Picture]]:
    """Return the layers that have a picture, the most costly first."""
    return [(layer, layer.picture) for layer in by_weight(report) if layer.picture is not None]


def pool(array: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Average neighbours into fewer rows and columns. [R, C] -> [rows, columns]."""
    for parts in (rows, columns):
        array = np.stack([part.mean(axis=0) for part in np.array_split(array, parts)]).T
    return array


def tiles_of(picture: Picture) -> np.ndarray:
    """Return the density of each tile, 0 to 1. [tile_rows, tile_columns]."""
    raw = np.frombuffer(base64.b64decode(picture.tiles), np.uint8)
    return raw.reshape(picture.tile_rows, picture.tile_columns) / 255


def corner_of(picture: Picture) -> np.ndarray:
    """Return the corner of the mask. bool [corner_rows, corner_columns]."""
    raw = np.frombuffer(base64.b64decode(picture.corner), np.uint8).reshape(picture.corner_rows, -1)
    return np.unpackbits(raw, axis=1, count=picture.corner_columns).astype(bool)
