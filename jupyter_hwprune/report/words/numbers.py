"""Format numbers; an unknown number is "not measured", never 0."""

import math
import os
from collections import defaultdict
from collections.abc import Sequence

UNKNOWN = "not measured"


def count(number: float | None) -> str:
    """1234567 -> 1.23 M."""
    if number is None:
        return UNKNOWN
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:g}"


def share(number: float) -> str:
    return f"{number:.0%}".replace("%", " %")


def removed(before: float, after: float) -> str:
    """Format a reduced count, e.g. 25.6 M -> 6.9 M (-73 %)."""
    return f"{count(before)} → {count(after)}{_gone(before, after)}"


def sizes(before: int, after: int) -> str:
    """Format a reduced size in bytes, e.g. 25.6 MB -> 6.9 MB (-73 %)."""
    told = (f"{count(size)}B" if size >= 1000 else f"{size} B" for size in (before, after))
    return f"{' → '.join(told)}{_gone(before, after)}"


def change(before: str, after: str) -> str:
    """Show both only if they differ."""
    return before if before == after else f"{before} → {after}"


def _gone(before: float, after: float) -> str:
    return f" (-{share(1 - after / before)})" if before and after < before else ""


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{three_digits(value)} ms"


def microseconds(value: float | None) -> str:
    return UNKNOWN if value is None else three_digits(value)


def three_digits(value: float) -> str:
    """Three significant digits without an exponent: 0.0123, 1.23, 123, 1234."""
    decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{decimals}f}"


def middle_cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width // 2 - 1] + "…" + text[-(width // 2) :]


def distinct_cuts(names: Sequence[str], width: int) -> dict[str, str]:
    """Cut names to the width, and leave out of those that would look the same what they have in common at the front."""
    found = {name: middle_cut(name, width) for name in names}
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name, cut in found.items():
        alike[cut].append(name)
    for group in alike.values():
        if len(group) > 1:
            start = os.path.commonprefix(group).rpartition(".")[0]  # noqa: RUF071 - of texts, which are no paths
            rests = {name: f"…{name.removeprefix(start).lstrip('.')}" for name in group}
            cuts = {name: middle_cut(rest, width) for name, rest in rests.items()}
            found |= cuts if len({*cuts.values()}) == len(group) else rests
    return found
