"""`%hwprune`: parse, call, return. `flow` does the work, and each form has a plain Python function."""

import contextlib
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand

from ..core.errors import InputError, RequirementError
from ..core.interrupts import heard
from ..core.options import FROM, RUN, ZOO, keywords
from . import completion, lab
from .asked import arguments, find_calib, form_of, parse, takes_options
from .cell import Cell
from .namespace import find_input, find_model, is_a
from .progress import ProgressLine


@magics_class
class HwpruneMagics(Magics):
    @no_var_expand
    @line_cell_magic
    @takes_options
    @heard()
    def hwprune(self, line: str, cell: str | None = None) -> Any:
        """Prune a copy of a model for a chip, and measure with the chip's own compiler what that gains.

        Returns a Run: `.model` is the pruned copy, `.report` the findings, `.artifacts` the compiler's files. With a
        `;` at the end, nothing is returned or shown but one line that says how it ended; `-o` still keeps the result.
        `%%hwprune` also trains: the cell below is the fine-tune step. It runs after each pruning step, with the model's
        name bound to the pruned copy, whose zeros stay zero; its last expression is the score, higher is better.

        Examples: `%hwprune --target intel-cpu`, `run = %hwprune net --input x --pattern channel/8 --sparsity 0.5`,
        `%hwprune advise net`, `%hwprune --zoo FOLDER`, `%hwprune --from FOLDER --out NEW`, `%hwprune targets`,
        `%hwprune doctor intel-cpu`, `%hwprune setup`, `%hwprune merge run there.json`, `%hwprune panel`; and
        `%%hwprune net --schedule cubic --steps 3` over `train(net)` and `accuracy(net)`.
        """
        __tracebackhide__ = True
        options = parse(line)
        if options is None:
            return None
        form = form_of(options, cell=cell is not None)
        own: dict[str, Any] = {"setup": self._setup, "simulate": self._simulate, "merge": self._merge, ZOO: self._zoo}
        own |= {"advise": self._advise, FROM: self._from}
        found = self._run(options, cell) if form == RUN else own.get(form, partial(_call, form))(options)
        if options.variable:
            self.shell.user_ns[options.variable] = found
        if form == RUN and options.require is not None:
            self._require(found, options, shown=not line.rstrip().endswith(";"))
        return None if line.rstrip().endswith(";") else found

    def _setup(self, options: Namespace) -> Any:
        names = options.words[1:]
        with ProgressLine(self.shell) as progress:
            found = _call("setup", options, progress=progress)
            if names:
                progress.done(f"{names[0]} is {'removed' if options.remove else 'ready'}")
        return found

    def _simulate(self, options: Namespace) -> Any:
        from ..survey.simulation import simulate

        name, model = find_model(self.shell.user_ns, options.words[1] if options.words[1:] else None)
        _, example = find_input(self.shell.user_ns, options.input)
        with ProgressLine(self.shell) as progress:
            asked = keywords(options, "simulate") | {"example": example}
            found = simulate(model, **asked, name=name, progress=progress)
            progress.done(f"{name} simulated for {found.target}")
        return found

    def _advise(self, options: Namespace) -> Any:
        from ..survey.advice import advise

        name, model = find_model(self.shell.user_ns, options.words[1] if options.words[1:] else None)
        input_name, example = find_input(self.shell.user_ns, options.input)
        asked = keywords(options, "advise") | {"example": example, "calib": find_calib(self.shell.user_ns, options)}
        names = {"name": name, "input_name": input_name, "calib_name": options.calib}
        with ProgressLine(self.shell) as progress:
            found = advise(model, **asked, **names, progress=progress)
            progress.done(found.summary)
        return found

    def _merge(self, options: Namespace) -> Any:
        """Join two reports; each is a run or a report in the namespace, or a file that `Report.save` wrote."""
        from ..keep.run import Shown
        from ..report import Report
        from ..report.merging import merge

        def read(word: str) -> Report:
            value = self.shell.user_ns.get(word, word)
            report = value.report if is_a(value, Shown) else value
            if is_a(report, Report):
                return report
            if is_a(value, str) or is_a(value, Path):
                return Report.load(value)
            raise InputError(
                f"{word} is a {type(value).__name__}, not a run or report. Give the result of a run, a report, or the "
                "file that Report.save wrote."
            )

        return Shown(merge(*map(read, options.words[1:])))

    def _zoo(self, options: Namespace) -> Any:
        from ..modelzoo import zoo
        from ..render import summary

        with ProgressLine(self.shell) as progress:
            shown = zoo(**keywords(options, ZOO), progress=progress)
            progress.done(summary(shown.report))
        return shown

    def _from(self, options: Namespace) -> Any:
        from ..checkpoint import prune_folder

        calib = find_calib(self.shell.user_ns, options)
        asked = keywords(options, FROM) | {"calib": calib, "calib_name": options.calib}
        with ProgressLine(self.shell) as progress:
            shown = prune_folder(**asked, progress=progress)
            progress.done(f"pruned block by block, and written to {options.out}")
        return shown

    def _run(self, options: Namespace, text: str | None) -> Any:
        __tracebackhide__ = True
        from ..flow import hwprune
        from ..render import summary
        from ..report.requirements import read_requirements

        asked = arguments(self.shell.user_ns, options)
        if asked.pop("require") is not None:  # checked once the run is kept and shown, and read before it starts
            read_requirements(options.require)
        cell = None if text is None else Cell(self.shell, text, asked["name"], scores=asked["score"] is None)
        if cell is not None:
            asked["finetune"] = cell.finetune
            asked["score"] = cell.as_score() if asked["score"] is None else asked["score"]
        names = contextlib.nullcontext() if cell is None else cell.all_or_nothing()
        try:
            with ProgressLine(self.shell) as progress, names:
                run = hwprune(**asked, progress=progress)
                progress.done(summary(run.report))
        except Exception as error:
            if cell is not None and error is cell.raised:
                raise error.with_traceback(cell.frames)  # noqa: B904 - with the user's own chain
            raise
        return run

    @staticmethod
    def _require(run: Any, options: Namespace, *, shown: bool) -> None:
        """Fail the cell with the figures where the run does not reach what the line requires, but show it first."""
        from IPython.display import display

        from ..keep.run import required
        from ..report.requirements import read_requirements

        __tracebackhide__ = True
        try:
            required(run, read_requirements(options.require))
        except RequirementError:
            if shown:
                display(run)
            raise


def _call(form: str, options: Namespace, **progress: Any) -> Any:
    """Call the public function of the form's name."""
    import jupyter_hwprune

    return getattr(jupyter_hwprune, form)(*options.words[1:], **keywords(options, form), **progress)


def load(shell: Any) -> None:
    unload(shell)
    shell.register_magics(HwpruneMagics)
    shell.Completer.custom_matchers.append(completion.matcher_for(shell))
    if hasattr(shell, "kernel"):
        lab.listen()  # now, since the side panel cannot start it while a cell runs


def unload(shell: Any) -> None:
    for magics in shell.magics_manager.magics.values():
        magics.pop("hwprune", None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != completion.IDENTIFIER]
