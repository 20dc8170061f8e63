"""What SparseZoo's own analysis counts: held against our counts, or all there is where it came without its model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.errors import counted
from ..report import Layer, Skipped, Totals
from .weights import FEWEST, Weight


def other_counts(analysis: dict[str, Any], weights: Sequence[Weight]) -> list[str]:
    """Hold SparseZoo's count of zeros against ours."""
    if analysis["problem"] is not None:
        return [
            f"SparseZoo's own analysis cannot count in this file ({analysis['problem']}): the counts are ours alone."
        ]
    theirs = {row["value"]: row["zeros"] for row in analysis["rows"]}
    both = [each for each in weights if each.value in theirs and each.matrix is not None]
    astray = [each for each in both if theirs[each.value] != each.zeros]
    if astray:
        first = astray[0]
        said = f"SparseZoo's analysis counts other zeros in {counted(len(astray), 'layer')} of {len(both)}"
        return [f"{said}: in {first.layer} {theirs[first.value]}, and we {first.zeros}. What is shown is ours."]
    left = len(weights) - len(both)
    untold = f"; {counted(left, 'layer')} more it does not count" if left else ""
    return [f"SparseZoo's analysis counts the same zeros in {counted(len(both), 'layer')}{untold}."] if both else []


def counted_there(
    rows: Sequence[dict[str, Any]],
) -> tuple[tuple[Layer, ...], tuple[Skipped, ...], Totals, tuple[str, ...]]:
    """Describe the layers of an analysis that came without its model, by its counts alone."""
    layers, skipped = [], []
    pruned_macs: list[int | None] = []
    for row in rows:
        shape, share = tuple(row["shape"]), row["zeros"] / row["weights"]
        left = None if row["macs"] is None else round(row["macs"] * (1 - share))
        pruned_macs.append(left)
        if share < FEWEST:
            skipped.append(Skipped(row["node"], row["op"], shape, "it came dense"))
            continue
        layers.append(
            Layer(
                row["node"],
                row["op"],
                shape,
                pruned_shape=shape,
                pattern="unstructured",
                sparsity=round(share, 6),
                macs=row["macs"],
                pruned_macs=left,
                valid=True,  # single zeros hold it wherever they are
                valid_groups=1.0,
                picture=None,
            )
        )
    weights, zeros = (sum(row[key] for row in rows) for key in ("weights", "zeros"))
    totals = Totals(weights, weights - zeros, _sum(row["macs"] for row in rows), _sum(pruned_macs))
    reasons = ["The counts are SparseZoo's own: they tell of single zeros, not whether those make a pattern."]
    quantised = sum(row["quantised"] for row in rows)
    if quantised:
        reasons.append(f"Of {counted(len(rows), 'layer')} {quantised} are quantised.")
    return tuple(layers), tuple(skipped), totals, tuple(reasons)


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Add up, or return None where one of them is not known."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
