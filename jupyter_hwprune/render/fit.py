"""Make a report small enough for a notebook: with smaller pictures, then with fewer layers; list what is left out."""

import base64
import json
from collections.abc import Iterator
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


def fit(report: Report, limit_bytes: int) -> Report:
    """Return the report, reduced only as far as its JSON needs to stay within `limit_bytes`."""
    bounded = _bounded(report)
    for smaller in _reductions(bounded):
        if len(smaller.to_json()) <= limit_bytes:
            return smaller
    return _bare(bounded)


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


def _reductions(report: Report) -> Iterator[Report]:
    yield report
    layers = by_weight(report)
    for size in SIZES:
        said = f"heatmaps are reduced to {size}x{size} tiles"
        yield _with(report, [_shrink(layer, size) for layer in report.layers], said)
    smallest = [_shrink(layer, SIZES[-1]) for layer in layers]
    kept = len(layers)
    while kept > 8:  # with fewer, the layers themselves are too large
        kept //= 2
        pictures = [*smallest[:kept], *(replace(layer, picture=None) for layer in smallest[kept:])]
        yield _with(report, pictures, f"only the {kept} costliest of {len(layers)} layers have a heatmap")
    kept, skipped = len(layers), len(report.skipped)
    while kept > 1 or skipped > 1:
        kept, skipped = max(1, kept // 2), max(1, skipped // 2)
        curves = report.sensitivity and replace(report.sensitivity, curves=report.sensitivity.curves[:kept])
        fewer = replace(report, skipped=report.skipped[:skipped], sensitivity=curves)
        dense = f"{skipped} of {len(report.skipped)} left dense"
        said = f"only the {kept} costliest of {len(layers)} layers and {dense} are here"
        yield _with(fewer, [replace(layer, picture=None) for layer in layers[:kept]], said)


def _with(report: Report, layers: list[Layer], said: str) -> Report:
    return replace(report, layers=tuple(layers), omitted=(*report.omitted, said))


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
    return _with(bare, [], "all layers are left out: the report would be too large")


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
