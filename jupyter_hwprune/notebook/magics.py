"""`%hwprune`: parse, call, return. What it does is in `flow`, and each form has a plain Python function."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments

from . import completion, lab
from .asked import SUBCOMMANDS, arguments, judge, parse
from .cell import Cell
from .namespace import find_input, find_model
from .progress import ProgressLine, without_traceback

OWN_OPTIONS = {"doctor": {"--smoke"}, "setup": {"--accept-licence", "--remove", "--python"}}
SHARED_OPTIONS = {"simulate": {"--input", "--target", "--toolchain", "--threads", "--batch", "--timeout"}}

ZOO_OPTIONS = {"--zoo", "--target", "--toolchain", "--threads", "--batch", "--timeout"}


@magics_class
class HwpruneMagics(Magics):
    @no_var_expand
    @line_cell_magic
    @magic_arguments()
    @argument(
        "words",
        nargs="*",
        help="the model (a name or an expression); or `targets`; `doctor` and a target; `setup` and a toolchain; "
        "`simulate` and a model; `merge` and two reports; `panel`",
    )
    @argument("--input", help="the model's example input: a name or an expression")
    @argument("--target", default="cpu", help="the chip, as `%%hwprune targets` lists them, or chip:toolchain")
    @argument("--pattern", help="2:4 (any n:m), 16x16 (any AxB), channel, channel/8, unstructured")
    @argument("--sparsity", type=float, help="the share to remove, above 0 and below 1")
    @argument(
        "--importance",
        default="magnitude",
        help="what is kept: magnitude, activation (Wanda), second-order (mends what stays); for channels also taylor",
    )
    @argument("--calib", help="inputs to rank by, or for a --recipe: a tensor, a list, a DataLoader (default: --input)")
    @argument(
        "--allocation",
        default="uniform",
        help="uniform: the same share of each layer; global: ranked together; sensitivity, or sensitivity:score: by a "
        "scan of each layer alone",
    )
    @argument("--dense", action="append", help="a layer to leave alone, by name or wildcard ('layers.0.*'); repeatable")
    @argument(
        "--permute", action="store_true", help="let input channels change places, so that n:m or blocks keep more"
    )
    @argument("--toolchain", help="who compiles and judges, instead of the target's first")
    @argument("--dtype", help="what a GPU runs both models in: bfloat16, float16, int8, float8 (default: the target's)")
    @argument(
        "--keep-all", action="store_true", help="leave also those layers pruned that gain nothing, if they run at all"
    )
    @argument("--threads", type=int, default=1, help="threads of the compiled model (default 1)")
    @argument("--batch", type=int, help="rows of the input (default: as the example has)")
    @argument("--eval", help="a score, higher is better: a function of the model, or an expression with its name")
    @argument("--schedule", default="one-shot", help="with a cell: one-shot, iterative or cubic, how the share grows")
    @argument("--steps", type=int, default=1, help="with a cell: how many times to prune, and to run it after")
    @argument("--recipe", help="a SparseML recipe that prunes: a file, or the name of a variable with its text")
    @argument("--zoo", help="instead of a model: a SparseZoo folder, a zoo: stub, or the YAML of an analysis")
    @argument("--timeout", type=float, default=1800, help="seconds the toolchain may take (default 1800)")
    @argument("--smoke", action="store_true", help="doctor: have each toolchain compile and run a small model")
    @argument("--accept-licence", action="store_true", help="setup: accept the licence that the line shows without it")
    @argument("--remove", action="store_true", help="setup: remove the environment")
    @argument("--python", help="setup: the interpreter to make the environment of")
    @argument("-o", dest="variable", help="also keep the result in this variable")
    def hwprune(self, line: str, cell: str | None = None) -> Any:
        """Prune a copy of a model for a chip, and prove with the chip's own compiler what that bought.

        Returns a Run: `.model` is the pruned copy, `.report` the findings, `.artifacts` the compiler's files. With a
        `;` at the end nothing is returned or shown, but for the line that says how it ended; `-o` still keeps it.
        As `%%hwprune` it trains along: the cell is the fine-tune step, run after each pruning step with the model's
        name for the pruned copy, whose zeros hold; and its last expression is the score, higher is better.

        Examples: `%hwprune --target intel-cpu`, `run = %hwprune net --input x --pattern channel/8 --sparsity 0.5`,
        `%hwprune --zoo FOLDER`, `%hwprune targets`, `%hwprune doctor intel-cpu`, `%hwprune setup`,
        `%hwprune merge run there.json`, `%hwprune panel`; and
        `%%hwprune net --schedule cubic --steps 3` over `train(net)` and `accuracy(net)`.
        """
        __tracebackhide__ = True
        options = parse(HwpruneMagics.hwprune.parser, line)
        if options is None:
            return None
        if cell is not None and (options.zoo is not None or (options.words and options.words[0] in SUBCOMMANDS)):
            form = "--zoo" if options.zoo is not None else options.words[0]
            raise UsageError(f"%%hwprune prunes a model and trains it by its cell; {form} takes no cell: use %hwprune")
        if options.words and options.words[0] in SUBCOMMANDS:
            _refuse_options(options)
            found = self._subcommand(options)
            return self._keep(found, options.variable, line)
        misplaced = _given(options) & set().union(*OWN_OPTIONS.values())
        if misplaced:
            owners = " or ".join(name for name, own in OWN_OPTIONS.items() if own & misplaced)
            raise UsageError(f"{', '.join(sorted(misplaced))} belongs to %hwprune {owners}")
        if options.zoo is not None:
            return self._keep(self._zoo(options), options.variable, line)
        if len(options.words) > 1:
            raise UsageError(f"One model at a time, and these are {len(options.words)}: {' '.join(options.words)}")
        return self._keep(self._run(options, cell), options.variable, line)

    def _keep(self, found: Any, variable: str | None, line: str) -> Any:
        if variable:
            self.shell.user_ns[variable] = found
        return None if line.rstrip().endswith(";") else found

    def _subcommand(self, options: Namespace) -> Any:
        from .. import provision, survey

        command, *words = options.words
        if command == "merge":
            return _merged(self.shell.user_ns, *words)
        if command == "panel" and not words:
            from .panel import panel

            return panel()
        if command == "targets" and not words:
            return survey.targets()
        if command == "doctor" and len(words) <= 1:
            return survey.doctor(*words, smoke=options.smoke)
        if command == "setup" and len(words) <= 1:
            with ProgressLine(self.shell) as progress, without_traceback():
                found = provision.setup(
                    *words,
                    accept_licence=options.accept_licence,
                    remove_it=options.remove,
                    python=options.python,
                    progress=progress,
                )
                if words:
                    progress.done(f"{words[0]} is {'removed' if options.remove else 'ready'}")
            return found
        if command == "simulate" and len(words) <= 1:
            return self._simulate(words[0] if words else None, options)
        most = {
            "simulate": "one model",
            "targets": "no word",
            "panel": "no word",
            "doctor": "one target",
            "setup": "one toolchain",
        }[command]
        raise UsageError(f"%hwprune {command} takes {most} after it")

    def _simulate(self, text: str | None, options: Namespace) -> Any:
        from ..simulation import simulate

        name, model = find_model(self.shell.user_ns, text)
        _, example = find_input(self.shell.user_ns, options.input)
        with ProgressLine(self.shell) as progress, without_traceback():
            found = simulate(
                model,
                example,
                name=name,
                progress=progress,
                **judge(options),
            )
            progress.done(f"{name} simulated for {found.target}")
        return found

    def _zoo(self, options: Namespace) -> Any:
        from ..modelzoo import zoo
        from ..render import summary

        refused = _given(options) - {"--variable"} - ZOO_OPTIONS
        if refused:
            words = ["a model" if each == "--words" else each for each in sorted(refused, reverse=True)]
            raise UsageError(
                f"With --zoo the folder is the model, pruned as it is: {', '.join(words)} has no say. It takes -o, "
                f"{', '.join(sorted(ZOO_OPTIONS))}"
            )
        with ProgressLine(self.shell) as progress, without_traceback():
            shown = zoo(options.zoo, progress=progress, **judge(options))
            progress.done(summary(shown.report))
        return shown

    def _run(self, options: Namespace, text: str | None) -> Any:
        __tracebackhide__ = True
        from ..flow import hwprune
        from ..render import summary

        asked = arguments(self.shell.user_ns, options)
        cell = None if text is None else Cell(self.shell, text, asked["name"], scores=asked["score"] is None)
        if cell is not None:
            asked["finetune"] = cell.finetune
            asked["score"] = cell.as_score() if asked["score"] is None else asked["score"]
        names = contextlib.nullcontext() if cell is None else cell.all_or_nothing()
        try:
            with ProgressLine(self.shell) as progress, without_traceback(), names:
                run = hwprune(**asked, progress=progress)
                progress.done(summary(run.report))
        except Exception as error:
            if cell is not None and error is cell.raised:
                raise error.with_traceback(cell.frames)  # noqa: B904 - with the user's own chain
            raise
        return run


def _refuse_options(options: Namespace) -> None:
    """Refuse what another form of the magic takes: nothing said is passed over in silence."""
    command = options.words[0]
    if command == "panel" and options.variable:
        raise UsageError("%hwprune panel takes no -o: what to keep the result in is one of the form's fields")
    own = OWN_OPTIONS.get(command, set()) | SHARED_OPTIONS.get(command, set())
    refused = _given(options) - {"--words", "--variable"} - own
    if refused:
        takes = " and ".join(["-o", *sorted(own)])
        raise UsageError(f"%hwprune {command} takes no option but {takes}, and here is {', '.join(sorted(refused))}")


def _given(options: Namespace) -> set[str]:
    defaults = HwpruneMagics.hwprune.parser.parse_args([])
    changed = [name for name, value in vars(options).items() if value != getattr(defaults, name)]
    return {f"--{name.replace('_', '-')}" for name in changed}


def _merged(namespace: Mapping[str, Any], *words: str) -> Any:
    """Join two reports, each a run or a report in the namespace or a file that `Report.save` wrote."""
    from ..merging import merge
    from ..report import Report
    from ..run import Shown

    if len(words) != 2:
        raise UsageError("%hwprune merge takes two words: runs, reports, or files of reports")
    found = (namespace.get(word, word) for word in words)
    reports = (getattr(each, "report", each) for each in found)
    return Shown(merge(*(each if isinstance(each, Report) else Report.load(str(each)) for each in reports)))


def load(shell: Any) -> None:
    shell.register_magics(HwpruneMagics)
    shell.set_hook("complete_command", completion.complete, re_key=r".*%hwprune\b")  # also after `run = `
    if hasattr(shell, "kernel"):
        lab.listen()  # now, since the side panel may not ask for it while a cell runs
