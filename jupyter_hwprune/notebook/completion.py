"""Tab completion for `%hwprune`: only what fits at the cursor, each with its type and a word of what it is."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.completer import SimpleCompletion, context_matcher

from ..core.nearest import nearest
from ..core.options import OPTIONS, RUN, SUBCOMMANDS, WITHOUT_A_MODEL, Kind, Option
from .lab import may_score
from .namespace import is_a, models, tensors
from .offers import Offers, offers_of

IDENTIFIER = "jupyter_hwprune"
UNBROKEN = str.maketrans(" -", "\N{NO-BREAK SPACE}\N{NON-BREAKING HYPHEN}")
PRIORITY = 1000  # asked before IPython's own matchers, which then are not asked at all
MAGIC = re.compile(r"(?:\s*|[^%'\"#]*[^%'\"#=<>!]=\s*)(%{1,2})hwprune\s(.*)", re.DOTALL)  # also after `run = `
WORD = re.compile(r"(?:\"[^\"]*\"?|'[^']*'?|[^\s\"'])+")
KINDS = {int: "whole number", float: "number"}
FLAGS = {option.flag: option for option in OPTIONS.values()}


def matcher_for(shell: Any) -> Any:
    """Make the matcher of one shell, for `shell.Completer.custom_matchers`."""

    def hwprune_matcher(context: Any) -> dict[str, Any]:
        line = _until_cursor(context)
        found = None if line is None else complete(shell, line)
        if found is None:
            return {"completions": []}
        typed, offers = found
        # JupyterLab lets a type break, over the line below
        completions = [SimpleCompletion(text, type=said.translate(UNBROKEN)) for text, said in offers.items()]
        return {"completions": completions, "matched_fragment": typed, "suppress": True, "ordered": True}

    return context_matcher(identifier=IDENTIFIER, priority=PRIORITY)(hwprune_matcher)


def _until_cursor(context: Any) -> str | None:
    """Return what stands between the magic and the cursor, over lines that end in a backslash; None elsewhere."""
    lines = context.full_text.split("\n")
    line, above = context.text_until_cursor, context.cursor_line
    while above and lines[above - 1].endswith("\\"):
        above -= 1
        line = f"{lines[above][:-1]} {line}"
    found = MAGIC.fullmatch(line)
    return None if found is None or (found[1] == "%%" and above) else found[2]


def complete(shell: Any, line: str) -> tuple[str, Offers] | None:
    """Return the end of the line that is completed, and what fits there; None where Python's own completions fit."""
    words = WORD.findall(line)
    typed = words.pop() if words and not line[-1:].isspace() else ""
    if typed[:1] in {'"', "'"}:
        return None
    names = dict(shell.user_ns)  # a copy made in one step: a run in the background may be giving names meanwhile
    own = {name: value for name, value in names.items() if name not in shell.user_ns_hidden and name[:1] != "_"}
    flag, equals, value = typed.partition("=")
    if equals and (option := _option(flag)) is not None:
        return _values(option, own, Line.of(words), value)
    so_far = Line.of(words)
    if so_far.waits is not None:
        return _values(so_far.waits, own, so_far, typed)
    if typed.startswith("-"):
        return typed, _fitting(_flags(so_far), typed) or {typed: "no such option"}
    return _word(own, so_far, typed)


@dataclass(frozen=True)
class Line:
    """The words before the one that is typed; `waits` is the option whose value comes next."""

    words: tuple[str, ...]
    given: Mapping[str, str]
    waits: Option | None

    @classmethod
    def of(cls, typed: list[str]) -> "Line":
        words, given = [], {}
        waits = None
        for each in typed:
            flag, equals, value = each.partition("=")
            if waits is not None:
                given[waits.name], waits = each, None
            elif (option := _option(flag)) is None:
                words += [each] if not each.startswith("-") else []
            else:
                given[option.name] = value
                waits = option if option.default is not False and not equals else None
        return cls(tuple(words), given, waits)

    @property
    def form(self) -> str:
        first = self.words[0] if self.words else ""
        named = [form for name, form in WITHOUT_A_MODEL.items() if name in self.given]
        return first if first in SUBCOMMANDS else named[0] if named else RUN


def _option(flag: str) -> Option | None:
    """Find an option by its flag, or by the start of one alone, as the parser does."""
    if flag in FLAGS or not flag.startswith("--") or flag == "--":
        return FLAGS.get(flag)
    begun = [each for name, each in FLAGS.items() if name.startswith(flag)]
    return begun[0] if len(begun) == 1 else None


def _values(option: Option, own: dict[str, Any], line: Line, typed: str) -> tuple[str, Offers] | None:
    if option.completes in {"tensor", "score", "recipe"} and not re.fullmatch(r"\w*", typed):
        return None  # an expression
    if option.name == "target" and line.form == "advise":  # which takes several
        typed = typed.rpartition(",")[2]
    known = _of_kind(option.completes, own, typed, line) if option.completes else offers_of(option, line.given)
    fitting = _fitting(known, typed)
    if option.completes in {"tensor", "score", "recipe"} and not fitting and typed:
        fitting = _names(own, typed)
    if fitting or option.completes in {"tensor", "score", "recipe"}:
        return (typed, fitting) if fitting else None
    near = nearest(typed, known) if option.choices or option.completes else []
    taken_as_typed = option.open or option.examples or option.completes in {"threads", "folder", "file", "layer"}
    said = KINDS.get(option.type, "text") if taken_as_typed else f"no such {option.name}"
    return typed, {near[0]: known[near[0]]} if near else {typed: said} if typed else {}


def _flags(line: Line) -> Offers:
    """Return the options of the line's form that are not on it yet."""
    fitting = [o for o in OPTIONS.values() if line.form in o.forms and (o.name not in line.given or o.default == ())]
    if not line.words and line.form == RUN:  # a subcommand, or another form, may follow
        fitting += [OPTIONS[name] for name in WITHOUT_A_MODEL]
    return {each.flag: f"option: {_takes(each)}" for each in fitting}


def _takes(option: Option) -> str:
    if option.default is False:
        return "no value"
    return KINDS.get(option.type) or str(option.completes or option.name).partition(":")[0].replace("_", " ")


def _word(own: dict[str, Any], line: Line, typed: str) -> tuple[str, Offers] | None:
    """Complete a word that is no option: a model, a subcommand, or a word after a subcommand."""
    if line.form in SUBCOMMANDS:
        row = SUBCOMMANDS[line.form]
        known = {} if row.completes is None or len(line.words) > row.most else _of_kind(row.completes, own, typed, line)
    elif line.words or line.form in WITHOUT_A_MODEL.values():
        known = {}
    else:
        known = _of_kind("model", own, typed, line)
        known |= {} if line.given else {row.name: f"subcommand: {row.about}" for row in SUBCOMMANDS.values()}
    fitting = _fitting(known | ({} if typed else _flags(line)), typed)
    if fitting:
        return typed, fitting
    if line.form == RUN and not line.words:
        fitting = _names(own, typed)
    fitting = fitting or {near: known[near] for near in nearest(typed, known)}
    return (typed, fitting) if fitting else None


def _names(own: dict[str, Any], typed: str) -> Offers:
    """Return the names that an expression may begin with, as in nets['small']."""
    return _fitting({name: type(value).__name__ for name, value in own.items()}, typed)


def _fitting(offers: Offers, typed: str) -> Offers:
    return {text: said for text, said in offers.items() if text.startswith(typed)}


def _of_kind(kind: Kind, own: dict[str, Any], typed: str, line: Line) -> Offers:
    """Return what the namespace, the files or this package have of a kind."""
    found: dict[Kind, Callable[[], Offers]] = {
        "model": lambda: {name: f"model: {type(value).__name__}" for name, value in models(own).items()},
        "tensor": lambda: dict(_inputs(own)),
        "score": lambda: {name: "score: function" for name, value in own.items() if may_score(value)},
        "recipe": lambda: _recipes(own) | _paths(typed, {".yaml", ".yml", ".md"}),
        "report": lambda: dict(_reports(own)) | _paths(typed, {".json"}),
        "layer": lambda: _layers(own, line),
        "threads": lambda: {str(count): "threads" for count in _threads()},
        "folder": lambda: _paths(typed, {".yaml", ".yml"}),
        "file": lambda: _paths(typed, None),
    }
    return found[kind]() if kind in found else offers_of(kind, line.given, line.form, typed)


def _inputs(own: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the tensors with their shapes, and what else holds inputs."""
    found = tensors(own)
    for name, value in own.items():
        if name in found:
            yield name, f"tensor: {'x'.join(map(str, value.shape)) or 'one number'}"
        elif is_a(value, tuple) or is_a(value, list) or is_a(value, dict):
            parts = list(value.values() if isinstance(value, dict) else value)
            if parts and tensors({"first": parts[0]}):
                yield name, f"{type(value).__name__}: {len(parts)} tensors"
        elif hasattr(type(value), "__iter__") and hasattr(value, "batch_size"):
            yield name, f"loader: batches of {value.batch_size}"


def _recipes(own: dict[str, Any]) -> Offers:
    return {name: "recipe: text" for name, value in own.items() if is_a(value, str) and "\n" in value}


def _reports(own: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from ..keep.run import Shown
    from ..report import Report

    for name, value in own.items():
        report = value.report if is_a(value, Shown) else value
        if is_a(report, Report):
            yield name, f"report: {report.verdict}"


def _layers(own: dict[str, Any], line: Line) -> Offers:
    """Name the layers with weights of the line's model, or of the only one."""
    found = models(own)
    model = found.get(line.words[0]) if line.words else next(iter(found.values()), None) if len(found) == 1 else None
    if model is None:
        return {}
    return {
        name: f"layer: {type(module).__name__}"
        for name, module in model.named_modules()
        if name and any(key == "weight" and len(value.shape) > 1 for key, value in _parameters(module))
    }


def _parameters(module: Any) -> list[tuple[str, Any]]:
    from torch.nn.parameter import is_lazy

    return [(key, value) for key, value in module.named_parameters(recurse=False) if not is_lazy(value)]


def _threads() -> list[int]:
    cores = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1
    return sorted({1, 2, 4, 8, 16, cores} & set(range(1, cores + 1)))


def _paths(typed: str, suffixes: set[str] | None) -> Offers:
    """Return the folders and the files with these suffixes, or all files, whose paths begin with what was typed."""
    before, slash, begun = typed.rpartition("/")
    there = sorted(Path(f"{before}{slash}" or ".").expanduser().glob(f"{glob.escape(begun)}*"))
    there = [path for path in there if begun or not path.name.startswith(".")]
    offers = {f"{before}{slash}{path.name}/": "folder" for path in there if path.is_dir()}
    files = (path for path in there if path.is_file() and (suffixes is None or path.suffix in suffixes))
    return offers | {f"{before}{slash}{path.name}": "file" for path in files}
