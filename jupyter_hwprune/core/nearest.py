"""Name what a misspelt word most likely means."""

from collections.abc import Iterable
from difflib import get_close_matches

ALIKE = 0.5  # below difflib's own: names such as intel-cpu are longer than what people type


def nearest(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return the known words most like this one, whatever their case, the most alike first."""
    folded = {name.lower(): name for name in known}
    return [folded[name] for name in get_close_matches(str(word).lower(), folded, most, ALIKE)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question as a sentence with a space before it; "" where nothing is alike."""
    near = nearest(word, known)
    return f" Did you mean {near[0]}?" if near else ""
