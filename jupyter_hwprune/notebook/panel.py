"""`%hwprune panel`: a form for `%hwprune` where JupyterLab's side panel is missing; it runs in the background.

A widget does not work in a saved notebook. So the report is static output of the panel's cell, and a sentence stands
in for the form there; running the cell again shows the form as it was filled in.
"""

import contextlib
import threading
import uuid
from functools import partial
from typing import Any

from IPython import get_ipython
from IPython.core.error import UsageError
from IPython.display import display, update_display

from ..core.door import one_door
from ..core.errors import HwpruneError, InputError, first_line
from ..core.options import DEFAULTS, magic_line
from ..report.words import headline
from ..survey import matrix
from ..toolchains.process import Progress
from . import lab
from .asked import arguments, parse
from .background import Background
from .interrupts import Interrupts, hear_at_once
from .panel_form import Form
from .panel_words import MOVED, NO_REPORT, RUN_AGAIN, alert, said, static

LOOK_S = 0.1
WIDGET = "application/vnd.jupyter.widget-view+json"
DONE = "Done: {}. The report is below{}."
CANCELLED = "Cancelled after {:.0f} s: the worker has ended, and nothing was changed."
BUSY = "In this kernel, Cancel waits for a running cell or for torch. Interrupting the kernel ends the run at once."


@one_door(HwpruneError)
def panel() -> None:
    """Show a form in the cell's output that runs `%hwprune` in the background, with the report below it.

    Raises InputError outside of a notebook.
    """
    shell = get_ipython()
    if not hasattr(getattr(shell, "kernel", None), "io_loop"):
        line = "jupyter_hwprune.hwprune(model, x)" if shell is None else magic_line(_filled_here(shell))
        raise InputError(f"The panel needs a notebook. Without one, call {line}")
    if shell not in _PANELS:
        _PANELS[shell] = Panel(shell)
    _PANELS[shell].show()


class Panel:
    """The one panel of a kernel; its form and run outlive the output that shows them."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._form: Form | None = None
        self._filled = _filled_here(shell)
        self._background: Background | None = None
        self._targets: matrix.Targets | None = None
        self._report: dict[str, Any] | None = None
        self._interrupts = Interrupts(shell)
        self._places = ("", "")  # display ids of the form and of the report

    def show(self) -> None:
        if self._form is None:
            self._form = self._open()
        else:  # it may stand in another cell
            self._update(0, static(MOVED, self._form.line))
        self._places = (uuid.uuid4().hex, uuid.uuid4().hex)
        display(static(NO_REPORT, self._form.line) | _view(self._form), raw=True, display_id=self._places[0])
        display(self._report or static(NO_REPORT, self._form.line), raw=True, display_id=self._places[1])

    def _open(self) -> Form:
        form = Form(self._filled)
        form.start.on_click(lambda _: self._start(form))
        form.refresh.on_click(lambda _: form.find())
        form.refresh.on_click(lambda _: self._ask(form))
        self._heard_at_once = hear_at_once(form.cancel, self._cancel)
        if not self._heard_at_once:  # else one click would come twice, and the second ends all
            form.cancel.on_click(lambda _: self._cancel())
        if self._targets is None:
            self._ask(form)
        else:
            form.learn(self._targets)
        return form

    def _ask(self, form: Form) -> None:
        """Find out what can be measured here, which takes seconds."""

        def ask() -> None:
            try:
                self._targets = matrix.targets()
            except HwpruneError as error:
                form.say(alert(str(error)))
            else:
                form.learn(self._targets)

        threading.Thread(target=ask, name="hwprune-survey", daemon=True).start()

    def _start(self, form: Form) -> None:
        if self._background is not None:
            return
        self._filled = form.filled
        form.work()
        if not self._heard_at_once:
            form.say(said(BUSY))
        if self._report is None:
            self._update(1, static(NO_REPORT, form.line))
        background = self._background = Background(self._shell.kernel.io_loop, partial(_work, self._shell, form.line))
        self._interrupts.start(background.cancel)
        background.start()
        threading.Thread(target=self._watch, args=(form, background), name="hwprune-panel", daemon=True).start()

    def _cancel(self) -> None:
        if self._background is not None:
            self._background.cancel()

    def _watch(self, form: Form, background: Background) -> None:
        """Show the run's progress and then its result, in a thread of its own, as the main thread may be busy."""
        while (outcome := background.outcome(LOOK_S)) is None:
            form.show_progress(background.phase, _detail(background), background.elapsed_s, background.step)
        self._interrupts.stop()
        if outcome == "done":
            self._finish(form, *background.value)
        elif outcome == "cancelled":
            form.rest(said(CANCELLED.format(background.elapsed_s)))
        else:
            form.rest(alert(_words(background.error)))
        self._background = None

    def _finish(self, form: Form, run: Any, shown: dict[str, Any]) -> None:
        variable = self._filled["variable"]
        if variable:
            self._shell.user_ns[variable] = run
        self._report = shown
        self._update(1, shown)
        kept = f" and kept the result as {variable}" if variable else ""
        self._update(0, static(RUN_AGAIN.format(kept), magic_line(self._filled)) | _view(form))
        form.rest(said(DONE.format(headline(run.report), f", the result in {variable}" if variable else "")))

    def _update(self, place: int, data: dict[str, Any]) -> None:
        update_display(data, raw=True, display_id=self._places[place])


_PANELS: dict[Any, Panel] = {}


def _view(form: Form) -> dict[str, Any]:
    return {WIDGET: {"model_id": form.box.model_id, "version_major": 2, "version_minor": 0}}


def _work(shell: Any, line: str, progress: Progress) -> tuple[Any, dict[str, Any]]:
    """Run the line by the magic's own parser; return the run, and its report in all MIME types.

    The run has its own model and input, which cells may change meanwhile.
    """
    from torch import Tensor
    from torch.utils import _pytree as pytree

    from ..core.copying import copied
    from ..flow import hwprune

    options = parse(line.removeprefix("%hwprune"))
    assert options is not None
    asked = arguments(shell.user_ns, options)
    with contextlib.suppress(Exception):  # any module's own code; `hwprune` refuses one that cannot be copied
        asked["model"] = copied(asked["model"])
    asked["example"] = pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), asked["example"])
    run = hwprune(**asked, progress=progress)
    return run, run._repr_mimebundle_()


def _filled_here(shell: Any) -> dict[str, str]:
    here = lab.namespace()
    variable = "hwprune_run" if "run" in shell.user_ns else "run"  # never overwrite a name of the user's
    return DEFAULTS | {"model": here.model or "net", "input": here.input or "x", "variable": variable}


def _detail(background: Background) -> str:
    if background.cancelled:
        return "cancelling"
    return "waiting for the running cell to end" if background.waits else background.detail


def _words(error: BaseException | None) -> str:
    if isinstance(error, HwpruneError):
        return f"{type(error).__name__}: {error}"
    return str(error) if isinstance(error, UsageError) else first_line(error or Exception())
