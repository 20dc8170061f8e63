"""Pooling and resizing: they work over the last axes, and channels pass."""

import re

from ..labels import Value
from .site import PLACES, Outcome, Rules, Site

NAMES = (
    "max_pool", "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "lp_pool", "upsample_nearest", "upsample_linear",
    "_upsample_nearest_exact", "upsample_bilinear", "upsample_bicubic", "upsample_trilinear", "_upsample_bilinear_aa",
    "_upsample_bicubic_aa", "_adaptive_avg_pool",
)  # fmt: skip


def over_places(at: Site) -> Outcome:
    digits = re.search(r"(\d)d", at.operator)
    rank = len(at.x.shape)
    kept = at.pin(at.x, PLACES, range(rank - int(digits[1]) if digits else 2, rank))
    found = [Value(shape, kept.factors) for shape in at.shapes]
    return found if len(found) > 1 else found[0]


def grid_sample(at: Site) -> Outcome:
    at.pin(at["grid"], "reads by these")
    return Value(at.shape, at.pin(at["input"], PLACES, range(2, len(at.shape))).factors)


RULES: Rules = {
    over_places: " ".join(f"{name}{k}d {name}{k}d_with_indices" for name in NAMES for k in (1, 2, 3)),
    grid_sample: "grid_sampler",
}
