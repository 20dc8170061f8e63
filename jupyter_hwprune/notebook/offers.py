"""What the package's own tables offer after an option, each with its type and a word of what it is."""

import contextlib
import importlib.metadata
from collections.abc import Mapping

from ..core.errors import InputError
from ..core.options import RUN, Kind, Option
from ..core.pattern import NM, Block, Channel, Depth, Pattern, parse_pattern
from ..core.target import ALIASES, TARGETS, Judge, find_target

SAID = {
    "auto": "by --calib, else size",
    "magnitude": "by size",
    "activation": "by size times input",
    "second-order": "by what the layer loses",
    "taylor": "by gradients",
    "uniform": "same share each",
    "global": "ranked together",
    "sensitivity": "by the output's error",
    "sensitivity:score": "by your score",
    "mixed": "by the error, exactly",
    "one-shot": "all at once",
    "iterative": "even steps",
    "cubic": "large steps first",
    "quick": "one sweep",
    "full": "two sweeps and a fit",
    "best": "also by splitting, slowest",
}
HERE, NOT_HERE = "here", "not set up"
Offers = dict[str, str]
"""What may stand there, and what Tab says of it."""


def offers_of(asked: Option | Kind, given: Mapping[str, str], form: str = RUN, typed: str = "") -> Offers:
    """Return what fits beside the options that are given already."""
    if asked == "target":
        return _targets()
    if asked == "target:toolchain":
        pairs = ((f"{row.name}:{judge.toolchain}", judge) for row in TARGETS for judge in row.judges if ":" in typed)
        every = {"all": "target: all that work here"} if form == "advise" else {}
        return _targets() | every | {name: _state(judge.toolchain) for name, judge in pairs}
    if asked == "toolchain":
        return _toolchains(given, form)
    if asked == "environment":
        from ..toolchains import environments

        return {name: f"environment: {HERE if _set_up(name) else NOT_HERE}" for name in environments.names()}
    if asked == "dtype":
        from ..choose.choice import dtypes_of

        found = sorted({dtype for judge in _judges(given) for dtype in dtypes_of(judge)})
        return {name: f"dtype: {''.join(filter(str.isdigit, name))} bits" for name in found}
    if asked == "mistake":
        from ..mistakes.table import KINDS

        return {code: f"mistake: {kind.title}" for code, kind in KINDS.items()}
    assert isinstance(asked, Option)
    if asked.name == "pattern":
        return _patterns(asked, given)
    name = asked.name.replace("_", " ")
    return {value: f"{name}: {SAID.get(value, 'for example')}" for value in asked.choices or asked.examples}


def _targets() -> Offers:
    own = {row.name: f"target: {row.maker}" for row in TARGETS}
    return {alias: f"target: {name}" for alias, name in sorted(ALIASES.items())} | own


def _judges(given: Mapping[str, str]) -> list[Judge]:
    """Return the toolchains of the target that the line names, or all where its target is not known."""
    with contextlib.suppress(InputError):
        row, named = find_target(given.get("target", "cpu"))
        named = given.get("toolchain", named)
        return [judge for judge in row.judges if judge.toolchain == named] or list(row.judges)
    return [judge for row in TARGETS for judge in row.judges]


def _toolchains(given: Mapping[str, str], form: str) -> Offers:
    from ..choose.choice import ALL
    from ..toolchains import manifest_of

    names = dict.fromkeys(judge.toolchain for judge in _judges({**given, "toolchain": ""}))
    if form == "simulate":
        names = {name: None for name in names if manifest_of(name).simulates}
    found = {name: _state(name) for name in sorted(names, key=lambda name: not _set_up(name))}
    return found | ({ALL: "toolchain: all that work here"} if form == RUN else {})


def _state(toolchain: str) -> str:
    """Say whether a toolchain is set up, by what is installed: a probe takes seconds, and Tab cannot wait for one."""
    from ..toolchains import manifest_of

    if not _set_up(toolchain):
        return f"toolchain: {NOT_HERE}"
    kinds = dict.fromkeys(row.kind for row in TARGETS for each in row.judges if each.toolchain == toolchain)
    if "cpu" in kinds or manifest_of(toolchain).cross_compiles:
        return f"toolchain: {HERE}"
    return f"toolchain: needs a device: {', '.join(kinds)}"


def _set_up(toolchain: str) -> bool:
    from ..toolchains import environment_of, environments, manifest_of

    name = environment_of(toolchain)
    if name is not None:
        return environments.obstacle(name, environments.find(name)) is None
    with contextlib.suppress(ValueError, importlib.metadata.PackageNotFoundError):  # ValueError: it names no package
        return bool(importlib.metadata.version(manifest_of(toolchain).package))
    return False


def _patterns(option: Option, given: Mapping[str, str]) -> Offers:
    """Offer the target's own patterns first."""
    own = dict.fromkeys(str(offer.pattern) for judge in _judges(given) for offer in judge.offers)
    return {text: f"pattern: {_what_goes(parse_pattern(text))}" for text in dict.fromkeys((*own, *option.choices))}


def _what_goes(pattern: Pattern) -> str:
    match pattern:
        case NM(n, m):
            return f"{m - n} of {m} weights"
        case Block(rows, columns, even):
            return f"blocks of {rows * columns}{', as many in each row of them' * even}"
        case Channel(1):
            return "channels"
        case Channel(multiple):
            return f"channels, left in {multiple}s"
        case Depth():
            return "residual blocks"
    return "single weights"
