"""What each operator does to the labels of its inputs: exact for those named here, and for no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from . import contractions, elementwise, joins, norms, parts, recurrent, shapes, spatial
from .site import Outcome, Site

RULES: Mapping[str, Callable[[Site], Outcome]] = {
    **elementwise.RULES,
    **shapes.RULES,
    **parts.RULES,
    **joins.RULES,
    **contractions.RULES,
    **spatial.RULES,
    **norms.RULES,
    **recurrent.RULES,
}

__all__ = ["RULES", "Outcome", "Site"]
