"""The zoo: small networks of the kinds that people prune, each with what is expected of its channels."""

from __future__ import annotations

from .attention import ATTENTION
from .convolutional import CONVOLUTIONAL
from .dense_prediction import DENSE_PREDICTION
from .detection import DETECTION
from .entry import Entry
from .experts import EXPERTS
from .generative import GENERATIVE
from .huggingface import HUGGINGFACE
from .mixers import MIXERS
from .mobile import MOBILE
from .recurrent import RECURRENT
from .sequence import SEQUENCE
from .speech import SPEECH
from .styles import STYLES
from .tabular import TABULAR
from .transformers_language import TRANSFORMERS_LANGUAGE
from .transformers_senses import TRANSFORMERS_SENSES
from .volumes import VOLUMES

ARCHITECTURES: dict[str, Entry] = {
    **CONVOLUTIONAL,
    **MOBILE,
    **VOLUMES,
    **DENSE_PREDICTION,
    **DETECTION,
    **ATTENTION,
    **EXPERTS,
    **SEQUENCE,
    **RECURRENT,
    **SPEECH,
    **MIXERS,
    **GENERATIVE,
    **TABULAR,
    **STYLES,
    **HUGGINGFACE,
    **TRANSFORMERS_LANGUAGE,
    **TRANSFORMERS_SENSES,
}

__all__ = ["ARCHITECTURES", "Entry"]
