"""Read the counts of SparseZoo's analysis: compare them with ours, or use them alone if there is no model."""

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.errors import counted
from ..report import Layer, Skipped, Totals
from .weights import FEWEST, WeightOfFile, layer_of


def other_counts(analysis: dict[str, Any], weights: Sequence[WeightOfFile]) -> list[str]:
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
    shares = [row["zeros"] / row["weights"] for row in rows]
    for row, share in zip(rows, shares, strict=True):
        own = (row["node"], row["op"], tuple(row["shape"]))
        if share < FEWEST:
            skipped.append(Skipped(*own, "it came dense"))
        else:
            layers.append(layer_of(*own, "unstructured", share, row["macs"], None))
    weights, zeros = (sum(row[key] for row in rows) for key in ("weights", "zeros"))
    macs = zip((row["macs"] for row in rows), shares, strict=True)
    totals = Totals(weights, weights - zeros, *macs_of(macs))
    said = ["The counts are SparseZoo's own: they count single zeros and do not show a pattern."]
    said += quantised([row["quantised"] for row in rows])
    return tuple(layers), tuple(skipped), totals, tuple(said)


def macs_of(products: Iterable[tuple[int | None, float]]) -> tuple[int | None, int | None]:
    """Sum the multiply-accumulates of products, all and without zeros, of (all, share of zeros); None if unknown."""
    dense = pruned = 0
    for macs, share in products:
        if macs is None:
            return None, None
        dense, pruned = dense + macs, pruned + round(macs * (1 - share))
    return dense, pruned


def quantised(layers: Sequence[bool], more: str = "") -> list[str]:
    """Say how many layers are quantised, if any is."""
    return [f"{sum(layers)} of {counted(len(layers), 'layer')} are quantised{more}."] if any(layers) else []
