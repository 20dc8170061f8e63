"""Which operators are given sizes of a set's channels as numbers, where a cut that cannot be proven asks why."""

import numpy as np

from .sets import ChannelSet, Coupled

SHOWN = 2


def sizes_given(coupled: Coupled, channels: ChannelSet) -> list[str]:
    """Say which operators take such sizes of these channels; each once, the first of them."""
    labels, slot = coupled.analysis.labels, channels.slots[0]
    own = coupled.analysis.tensors[slot.tensor].on(slot.dim)
    assert own is not None
    roots = np.unique(labels.roots(own.labels.ravel())[slot.positions.flatten().numpy()])
    found = (words for given, words in labels.sizes if np.isin(labels.roots(given), roots).any())
    return list(dict.fromkeys(found))[:SHOWN]
