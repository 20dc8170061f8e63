"""A page for each chip, of the rows in target.py."""

from __future__ import annotations

from jupyter_hwprune.target import ALIASES, TARGETS, X86, Stack, Target
from jupyter_hwprune.toolchains import shipped

from .markdown import bullets, code, contents, facts, table

INTRODUCTION = """# Targets

Each chip has a row of data: what to prune for it, who compiles and judges it, the rules for shapes, what its vendor
says, and what we found where the usual advice does not hold. `%hwprune targets` shows the same table with what can be
measured on the machine at hand. `--target NAME` picks a row, `--target NAME:TOOLCHAIN` also the toolchain.
"""


def pages() -> dict[str, str]:
    return {"targets/index.md": _index()} | {f"targets/{target.name}.md": _page(target) for target in TARGETS}


def _index() -> str:
    rows = [
        (
            f"[{target.name}]({target.name}.md)",
            target.chip,
            ", ".join(dict.fromkeys(f"`{stack.pattern}`" for stack in target.stacks)),
            ", ".join(_linked(stack.toolchain) for stack in target.stacks),
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
        f"## What to prune\n\n{_stacks(target)}",
        f"## Shapes\n\n{bullets(target.shape_rules)}",
        f"## How it is judged\n\n{_judged(target)}",
        f"## What its vendor says\n\n> {target.vendor_says}\n\n<{target.vendor_page}>\n",
    ]
    if target.finding:
        parts.append(f"## What we found\n\n{target.finding}\n")
    return "\n".join([*parts, f"## Where it can be measured\n\n{_where(target)}\n"])


def _stacks(target: Target) -> str:
    head = ("toolchain", "pattern", "usual sparsity", "device", "runs in", "has to beat as well")
    return table(head, [_stack(stack) for stack in target.stacks])


def _stack(stack: Stack) -> tuple[str, ...]:
    return (
        _linked(stack.toolchain),
        f"`{stack.pattern}`",
        f"{stack.sparsity:.0%}",
        f"`{stack.device}`",
        ", ".join(stack.dtypes) or "the model's own type",
        " and ".join(f"dense with {_linked(name)}" for name in stack.against) or "dense with the same toolchain",
    )


def _judged(target: Target) -> str:
    typical = "no figure is known"
    if target.typical_speedup:
        typical = f"{target.typical_speedup} over dense; a rule of thumb, not a measurement"
    rows = [
        ("limited by", target.primary_constraint),
        ("judged by", target.validation_metric),
        ("typical gain", typical),
        ("common mistake", target.common_mistake),
    ]
    return facts(rows)


def _where(target: Target) -> str:
    written = [stack.toolchain for stack in target.stacks if stack.toolchain in shipped()]
    missing = [stack.toolchain for stack in target.stacks if stack.toolchain not in shipped()]
    said = []
    if target.hosts:
        host = "an x86-64 machine" if target.hosts == X86 else "a 64-bit Arm machine"
        maker = f" with a CPU made by {target.maker}" if target.maker else ""
        said.append(f"On {host}{maker}, by {_and(written)}.")
    elif target.capabilities:
        said.append(f"On a GPU of compute capability {' or '.join(target.capabilities)}, by {_and(written)}.")
    elif written:
        said.append(f"Where {_and(written)} finds the device {_devices(target, written)}.")
    if missing:
        said.append(f"{_and(missing)}: no adapter in this version.")
    said += [f"Otherwise: {stack.cure}." for stack in target.stacks if stack.cure]
    said.append(
        "Anywhere else a run prunes, checks the pattern and the shapes, and says what is missing; nothing is measured "
        "on another chip in its place."
    )
    return "\n".join(said)


def _devices(target: Target, written: list[str]) -> str:
    return " or ".join(dict.fromkeys(f"`{s.device}`" for s in target.stacks if s.toolchain in written))


def _and(names: list[str]) -> str:
    linked = [_linked(name) for name in names]
    return " and ".join(filter(None, [", ".join(linked[:-1]), linked[-1]]))


def _linked(toolchain: str) -> str:
    return f"[{toolchain}](../toolchains/{toolchain}.md)"
