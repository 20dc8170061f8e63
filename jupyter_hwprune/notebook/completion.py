"""Tab completion for `%hwprune`: options, their values, and the namespace's models and tensors."""

import glob
from pathlib import Path
from typing import Any

from ..core.options import OPTIONS, SUBCOMMANDS, Kind
from .namespace import models, tensors

FLAGS = {option.flag: option for option in OPTIONS.values()}


def complete(shell: Any, event: Any) -> list[str]:
    """Return the candidates for the word at the cursor, as IPython's `complete_command` hook asks for them."""
    words = event.line.split()
    typed = "" if event.line[-1:].isspace() else words.pop()  # not event.symbol: `:` and `=` split words in that
    before = words[-1] if words else ""
    if typed.startswith("--") and "=" in typed:
        before, _, typed = typed.partition("=")
    candidates = _following(shell, before, typed)
    if candidates is None:
        candidates = [*FLAGS] if typed.startswith("-") else [*models(shell.user_ns), *SUBCOMMANDS, *FLAGS]
    there = len(typed) - len(event.symbol)
    return [candidate[there:] for candidate in candidates if candidate.startswith(typed)]


def _following(shell: Any, word: str, typed: str) -> list[str] | None:
    """Return the candidates after a word of the line; None if anything can follow it."""
    own = {name: value for name, value in shell.user_ns.items() if name not in shell.user_ns_hidden}
    option = FLAGS.get(word)
    if option is None or option.default is False:
        kind = SUBCOMMANDS[word].completes if word in SUBCOMMANDS else None
        return None if kind is None else _of_kind(kind, own, typed)
    return [*option.choices] if option.completes is None else _of_kind(option.completes, own, typed)


def _of_kind(kind: Kind, own: dict[str, Any], typed: str) -> list[str]:
    from ..choose.choice import ALL, dtypes_of
    from ..core.target import ALIASES, TARGETS
    from ..toolchains import environments

    judges = [(target.name, judge) for target in TARGETS for judge in target.judges]
    names = [*(target.name for target in TARGETS), *ALIASES]
    found: dict[Kind, list[str]] = {
        "target": names,
        "target:toolchain": names + [f"{name}:{judge.toolchain}" for name, judge in judges],
        "toolchain": [*sorted({judge.toolchain for _, judge in judges}), ALL],
        "environment": environments.names(),
        "dtype": sorted({dtype for _, judge in judges for dtype in dtypes_of(judge)}),
        "tensor": list(tensors(own)),
        "score": [name for name, value in own.items() if callable(value) and not name.startswith("_")],
        "recipe": [name for name, value in own.items() if isinstance(value, str) and "\n" in value],
    }
    return _folders(typed) if kind == "folder" else found[kind]


def _folders(typed: str) -> list[str]:
    """Return the folders and the analysis files whose paths begin with what was typed."""
    before, slash, begun = typed.rpartition("/")
    there = sorted(Path(f"{before}{slash}" or ".").expanduser().glob(f"{glob.escape(begun)}*"))
    names = [f"{path.name}/" for path in there if path.is_dir()]
    names += [path.name for path in there if path.suffix in {".yaml", ".yml"}]
    return [f"{before}{slash}{name}" for name in names]
