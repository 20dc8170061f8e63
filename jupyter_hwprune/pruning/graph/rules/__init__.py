"""What each operator does to the labels of its inputs: exact for those named here, and for no others."""

from collections.abc import Mapping

from . import contractions, elementwise, joins, norms, parts, recurrent, shapes, spatial, writes
from .site import Outcome, Rule, Site

TABLES = (elementwise, shapes, parts, joins, contractions, spatial, norms, recurrent, writes)
RULES: Mapping[str, Rule] = {
    name: rule for table in TABLES for rule, names in table.RULES.items() for name in names.split()
}

__all__ = ["RULES", "Outcome", "Site"]
