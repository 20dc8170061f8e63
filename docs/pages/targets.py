"""A page for each chip, made from the rows in target.py."""

from __future__ import annotations

from jupyter_hwprune.choose.choice import dtypes_of
from jupyter_hwprune.core.target import ALIASES, TARGETS, Judge, Target

from .markdown import bullets, code, contents, facts, table

INTRODUCTION = """# Targets

Each chip has a row of data: its judges, the rules for shapes, what its vendor says, and what we found if the usual
advice is wrong. A judge is a toolchain that compiles and measures for the chip, with its offers: the patterns that pay
there, the one that gains most first. `%hwprune targets` prints one line for each chip, with what can be timed,
estimated or compiled on your machine; `%hwprune doctor TARGET` shows the chip's row and what is missing.

`--target NAME` picks a row, `--target NAME:TOOLCHAIN` also the toolchain. `--target my.module` takes the row named
`TARGET` in a module of your own, see [](../../own-toolchain.md).
"""


def pages() -> dict[str, str]:
    return {"targets/index.md": _index()} | {f"targets/{target.name}.md": _page(target) for target in TARGETS}


def _index() -> str:
    rows = [
        (
            f"[{target.name}]({target.name}.md)",
            target.chip,
            ", ".join(dict.fromkeys(f"`{offer.pattern}`" for judge in target.judges for offer in judge.offers)),
            ", ".join(_linked(judge.toolchain) for judge in target.judges),
        )
        for target in TARGETS
    ]
    aliases = [f"`{alias}` is `{name}`" for alias, name in ALIASES.items() if alias != "cpu"]
    short = f"Short names: {', '.join(aliases)}; `cpu`, the default, is the CPU of this computer.\n"
    parts = [INTRODUCTION, table(("target", "chip", "pattern", "toolchains, preferred first"), rows), short]
    return "\n".join([*parts, contents(target.name for target in TARGETS)])


def _page(target: Target) -> str:
    parts = [
        f"# {target.name}\n\n{target.chip}\n",
        code(f"%hwprune model --input x --target {target.name}", "ipython3"),
        f"## What to prune\n\n{_judges(target)}",
        f"## Shapes\n\n{bullets([rule.says for rule in target.rules])}",
        f"## How it is measured\n\n{_judged(target)}",
        f"## What its vendor says\n\n> {target.vendor_says}\n\n<{target.vendor_page}>\n",
    ]
    if target.finding:
        parts.append(f"## What we found\n\n{target.finding}\n")
    return "\n".join([*parts, f"## Where it can be measured\n\n{_where(target)}\n"])


def _judges(target: Target) -> str:
    head = ("judge", "offers", "device", "data types", "compared with")
    return table(head, [_judge(judge) for judge in target.judges])


def _judge(judge: Judge) -> tuple[str, ...]:
    return (
        _linked(judge.toolchain),
        ", then ".join(f"`{offer.pattern}` at {offer.sparsity:.0%}" for offer in judge.offers),
        f"`{judge.device}`",
        ", ".join(judge.dtypes or ("the model's own", *dtypes_of(judge))),
        " and ".join(["the dense model", *(f"dense with {_linked(name)}" for name in judge.against)]),
    )


def _judged(target: Target) -> str:
    typical = "no figure is known"
    if target.typical_speedup:
        typical = f"{target.typical_speedup} over dense is often claimed; that is not a measurement"
    rows = [
        ("limited by", target.primary_constraint),
        ("measured by", target.validation_metric),
        ("typical gain", typical),
        ("common mistake", target.common_mistake),
    ]
    return facts(rows)


def _where(target: Target) -> str:
    toolchains = [judge.toolchain for judge in target.judges]
    which = f" of the kind {target.kind}: {' or '.join(target.identities)}" if target.identities else ""
    said = [f"On a machine where {_and(toolchains)} finds the device {_devices(target)}{which}."]
    if target.alike:
        said.append(f"Other chips ({' or '.join(target.alike)}) run the same instructions; the report names them.")
    said += [f"Otherwise: {judge.cure}." for judge in target.judges if judge.cure]
    said.append(
        "Anywhere else, a run prunes, checks the pattern and the shapes, and says what is missing. It never measures "
        "on another chip instead."
    )
    return "\n".join(said)


def _devices(target: Target) -> str:
    return " or ".join(dict.fromkeys(f"`{judge.device}`" for judge in target.judges))


def _and(names: list[str]) -> str:
    linked = [_linked(name) for name in names]
    return " and ".join(filter(None, [", ".join(linked[:-1]), linked[-1]]))


def _linked(toolchain: str) -> str:
    return f"[{toolchain}](../toolchains/{toolchain}.md)"
