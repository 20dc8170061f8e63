"""An order of channels under which a pattern loses less: on a matrix of scores, and through a whole model."""

from .blocks import cluster, retained_in_blocks
from .groups import bound, retained, search

__all__ = ["bound", "cluster", "retained", "retained_in_blocks", "search"]
