"""The zoo: small networks of the kinds that people prune, each with what is expected of its channels."""

from __future__ import annotations

from .attention import ATTENTION
from .convolutional import CONVOLUTIONAL
from .dense_prediction import DENSE_PREDICTION
from .entry import Entry
from .huggingface import HUGGINGFACE
from .mobile import MOBILE
from .sequence import SEQUENCE

ARCHITECTURES: dict[str, Entry] = {
    **CONVOLUTIONAL,
    **MOBILE,
    **DENSE_PREDICTION,
    **ATTENTION,
    **SEQUENCE,
    **HUGGINGFACE,
}

__all__ = ["ARCHITECTURES", "Entry"]
