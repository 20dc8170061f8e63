"""Read the counts of SparseZoo's analysis: compare them with ours, or use them alone if there is no model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.errors import counted
from ..report import Layer, Skipped, Totals
from .weights import FEWEST, Weight


def other_counts(analysis: dict[str, Any], weights: Sequence[Weight]) -> list[str]:
    """Compare SparseZoo's count of zeros with ours."""
    if analysis["problem"] is not None:
        return [f"SparseZoo's own analysis cannot read this file ({analysis['problem']}): all counts are ours."]
    theirs = {row["value"]: row["zeros"] for row in analysis["rows"]}
    both = [each for each in weights if each.value in theirs and each.matrix is not None]
    wrong = [each for each in both if theirs[each.value] != each.zeros]
    if wrong:
        first = wrong[0]
        said = f"SparseZoo's analysis counts different zeros in {counted(len(wrong), 'layer')} of {len(both)}"
        return [f"{said}: {theirs[first.value]} in {first.layer}, where we count {first.zeros}. The report shows ours."]
    left = len(weights) - len(both)
    untold = f"; it does not count {counted(left, 'layer')} more" if left else ""
    return [f"SparseZoo's analysis counts the same zeros in {counted(len(both), 'layer')}{untold}."] if both else []


def counted_there(
    rows: Sequence[dict[str, Any]],
) -> tuple[tuple[Layer, ...], tuple[Skipped, ...], Totals, tuple[str, ...]]:
    """Describe the layers of an analysis without a model, by its counts."""
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
                valid=True,  # zeros anywhere satisfy the unstructured pattern
                valid_groups=1.0,
                picture=None,
            )
        )
    weights, zeros = (sum(row[key] for row in rows) for key in ("weights", "zeros"))
    totals = Totals(weights, weights - zeros, _sum(row["macs"] for row in rows), _sum(pruned_macs))
    reasons = ["The counts are SparseZoo's own: they count single zeros and do not show a pattern."]
    quantised = sum(row["quantised"] for row in rows)
    if quantised:
        reasons.append(f"{quantised} of {counted(len(rows), 'layer')} are quantised.")
    return tuple(layers), tuple(skipped), totals, tuple(reasons)


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None if any number is unknown."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
