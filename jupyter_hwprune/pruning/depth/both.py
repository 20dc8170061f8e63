"""Put the removal of blocks and the removal of channels after it together as one result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import Pruned


def joined(shorter: Pruned, narrower: Pruned) -> Pruned:
    """Return the narrower model as a cut of the dense one; layers keep the names that they have there."""
    before = {new: old for old, new in shorter.renamed.items()}
    return replace(
        narrower,
        layers=(*shorter.layers, *(replace(each, name=before[each.name]) for each in narrower.layers)),
        skipped=tuple(replace(each, name=before[each.name]) for each in narrower.skipped),
        totals=replace(narrower.totals, weights=shorter.totals.weights, macs=shorter.totals.macs),
        remarks=(*shorter.remarks, "Each layer has the name that it has in the dense model.", *narrower.remarks),
        blocks=shorter.blocks,
        renamed=shorter.renamed,
    )
