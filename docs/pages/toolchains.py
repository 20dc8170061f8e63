"""A page for each toolchain, made from its file, its pins and the targets that name it."""

from __future__ import annotations

import ast
import importlib.metadata
import re

from jupyter_hwprune.core.target import TARGETS
from jupyter_hwprune.toolchains import environment_of, environments, file_called, manifest_of, shipped
from jupyter_hwprune.toolchains.manifest import Manifest

from .benchmarks import results_of
from .markdown import bullets, code, contents, facts, table

INTRODUCTION = """# Toolchains

A toolchain is a compiler with its runtime. It runs in a process of its own. `%hwprune doctor` checks each toolchain on
this machine, and `%hwprune doctor --smoke` also compiles and runs a small model with each. `--toolchain NAME` or
`--target chip:NAME` picks one. A dotted name is a module of your own: [](../../own-toolchain.md).
"""
OPTIONAL = {
    "quantises": "quantises to int8 ([how](../../int8.md))",
    "simulates": "simulates sparsity on a dense model (`%hwprune simulate`)",
    "counts": "reads hardware counters",
    "meter": "measures energy with the device's own counter",
    "rates": "times each layer alone, dense against sparse",
    "estimates": "estimates without running",
    "settles": "decides by its estimates which layers keep their zeros",
    "any_batch": "compiles files that take any batch",
    "cross_compiles": "compiles for a device that is not on this machine",
}


def pages() -> dict[str, str]:
    made = {name: _page(name) for name in shipped()} | {name: _environment_page(name) for name in _others()}
    made["index"] = _index()
    return {f"toolchains/{name}.md": text for name, text in made.items()}


def _others() -> list[str]:
    return [name for name in environments.names() if name not in shipped()]


def _index() -> str:
    rows = [(f"[{name}]({name}.md)", _first_sentence(name), _served(name)) for name in shipped()]
    others = [(f"[{name}]({name}.md)", environments.pins_of(name).about) for name in _others()]
    return "\n".join(
        [
            INTRODUCTION,
            table(("toolchain", "", "targets"), rows),
            "## Other environments\n\nThese are not toolchains, but `%hwprune setup` makes their environments too.\n",
            table(("environment", ""), others),
            contents([*shipped(), *_others()]),
        ]
    )


def _page(name: str) -> str:
    manifest = manifest_of(name)
    paragraphs = _docstring(name)
    about = [
        ("takes", _takes(manifest)),
        ("serves", _served(name)),
        ("installed by", f"`{manifest.install}`"),
        *_environment_of(name),
        ("also", "; ".join(said for able, said in OPTIONAL.items() if getattr(manifest, able)) or "nothing else"),
    ]
    parts = [f"# {name}\n\n{paragraphs}\n", facts(about)]
    if name in environments.names():
        parts.append(_pins(name))
    measured = [f"[{title}](../benchmarks/{stem}.md)" for stem, title in results_of(name).items()]
    said = bullets(measured) if measured else "This repository has no measurements of it yet.\n"
    return "\n".join([*parts, f"## Measured\n\n{said}"])


def _environment_of(name: str) -> list[tuple[str, str]]:
    apart = environment_of(name)
    if apart is None:
        return [("Python", "the kernel's"), ("licence", _licence(name))]
    return [] if apart == name else [("environment", f"that of [{apart}]({apart}.md)")]


def _licence(name: str) -> str:
    """Return the licence of a toolchain in the kernel's environment, as its package states it."""
    package = manifest_of(name).package
    try:
        said = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return f"not known here: {package} is not installed where this page was built"
    terms = said["License-Expression"] or said["License"] or "none is named"
    return f"{terms.splitlines()[0]}, as {package} {said['Version']} says"


def _environment_page(name: str) -> str:
    return f"# {name}\n\n{environments.pins_of(name).about}.\n\n{_pins(name)}"


def _pins(name: str) -> str:
    pins = environments.pins_of(name)
    packages = sorted({re.split(r"[=; ]", line)[0] for line in pins.text.splitlines() if line.strip()})
    about = [("Python", f"`{pins.python}`"), ("packages", f"{len(packages)}, each pinned")]
    if pins.licence is not None:
        about.append(("licence", f"{pins.licence} (<{pins.licence_page}>)"))
    else:
        about.append(("licence", "no restriction of use is known"))
    line = environments.setup_line(name)
    return (
        "## Its own environment\n\nIt cannot share the kernel's packages, so this line installs it in an environment "
        f"of its own, in the user's data folder:\n\n{code(line, 'ipython3')}\n{facts(about)}"
        f"\n:::{{dropdown}} The {len(packages)} packages\n{', '.join(packages)}\n:::\n"
    )


def _takes(manifest: Manifest) -> str:
    if manifest.takes == "program":
        return "torch's ExportedProgram"
    return "ONNX" if manifest.opset is None else f"ONNX, opset {manifest.opset}"


def _served(name: str) -> str:
    targets = [target.name for target in TARGETS if name in {judge.toolchain for judge in target.judges}]
    return ", ".join(f"[{target}](../targets/{target}.md)" for target in targets)


def _docstring(name: str) -> str:
    text = file_called(name).read_text(encoding="utf-8")
    return re.sub(r"(https?://\S+)", r"<\1>", ast.get_docstring(ast.parse(text)) or "")


def _first_sentence(name: str) -> str:
    return re.split(r"(?<=[.])\s", _docstring(name))[0]
