"""Name what a misspelt word most likely means."""

from collections.abc import Iterable
from difflib import get_close_matches

ALIKE = 0.5  # below difflib's own: names such as intel-cpu are longer than what people type


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like this one, whatever its case; None if none is alike."""
    folded = {name.lower(): name for name in known}
    near = get_close_matches(str(word).lower(), folded, 1, ALIKE)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question as a sentence with a space before it; "" where nothing is alike."""
    near = nearest(word, known)
    return "" if near is None else f" Did you mean {near}?"
