"""An order of channels under which a pattern loses less: on a matrix of scores, and through a whole model."""

from .blocks import cluster, retained_in_blocks
from .groups import bound, retained, search
from .network import Permuted, permute_for

__all__ = ["Permuted", "bound", "cluster", "permute_for", "retained", "retained_in_blocks", "search"]
