"""Pooling and resizing: they work over the last axes, and channels pass."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..labels import Value
from .site import Outcome, Site

NAMES = (
    "max_pool", "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "lp_pool", "upsample_nearest", "upsample_linear",
    "_upsample_nearest_exact", "upsample_bilinear", "upsample_bicubic", "upsample_trilinear", "_upsample_bilinear_aa",
    "_upsample_bicubic_aa", "_adaptive_avg_pool",
)  # fmt: skip


def over_places(at: Site) -> Outcome:
    digits = re.search(r"(\d)d", at.node.target.__name__)  # type: ignore[union-attr]
    count = int(digits[1]) if digits else len(at.x.shape) - 2
    rank = len(at.x.shape)
    kept = at.passed(at.x, range(rank - count, rank), zero=True, what="needs all of these places")
    found = [Value(shape, kept.factors) for shape in at.shapes]
    return found if len(found) > 1 else found[0]


def grid_sample(at: Site) -> Outcome:
    kept = at.passed(at["input"], range(2, len(at.shape)), zero=True, what="needs all of these places")
    at.labels.pin_value(at["grid"], f"{at.name} reads by these")
    return Value(at.shape, kept.factors)


RULES: dict[str, Callable[[Site], Outcome]] = {
    **{f"{name}{k}d": over_places for name in NAMES for k in (1, 2, 3)},
    **{f"{name}{k}d_with_indices": over_places for name in ("max_pool", "adaptive_max_pool") for k in (1, 2, 3)},
    "grid_sampler": grid_sample,
}
