"""The panel's form: its widgets and their values. It knows nothing about runs."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]

from ..choose.choice import ALL, dtypes_of
from ..core.options import FIELDS, MODEL, OPTIONS, Option, magic_line
from ..core.target import TARGETS, Judge, Target, find_target
from ..survey.matrix import TargetHere, Targets
from . import lab
from .panel_words import NO_MODEL, STYLE, about_model, about_target, alert, steps

LEFT = ("model", "input", "calib", "eval", "max_drop", "variable", "threads")  # of the notebook and the machine
RIGHT = (
    "target",
    "toolchain",
    "speedup",
    "latency_ms",
    "pattern",
    "sparsity",
    "importance",
    "allocation",
    "recover",
    "dtype",
)  # of the chip and the method
LABEL = {"description_width": "132px"}
WIDE = {"width": "auto"}
COLUMNS = "repeat(auto-fit, minmax(300px, 1fr))"
COLUMN = {"min_width": "0"}  # a field's value must not widen its column
LINE = 80  # characters of the magic line that have room in a row, where the browser does not size the field itself


class Form:
    """`filled` is the text of the fields by option name, `line` the same as a magic line.

    `start`, `cancel` and `refresh` are buttons.
    """

    def __init__(self, filled: Mapping[str, str]) -> None:
        self._targets: Targets | None = None
        self._offering = False
        model = widgets.Dropdown(description="Model", layout=WIDE, style=LABEL)
        self._fields = {MODEL: model} | {name: _field(OPTIONS[name]) for name in FIELDS if name != MODEL}
        self._about_target, self._progress, self._message = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self._line = widgets.Textarea(description="Same as", layout=WIDE, style=LABEL)
        self.start = widgets.Button(description="Run", button_style="primary", tooltip="Run this line")
        self.cancel = widgets.Button(description="Cancel", tooltip="Stop the run; nothing is changed")
        self.refresh = widgets.Button(description="Refresh", tooltip="Look again for models, inputs and toolchains")
        self.box = self._lay_out()
        self._offer("target", _target_labels(), filled["target"])
        for name, value in filled.items():
            if name not in (MODEL, "target"):
                self._fields[name].value = int(value) if _is_count(OPTIONS[name]) else value
        self.find(filled[MODEL])
        for widget in (*self._fields.values(), self._line):  # a line to copy: what is typed there is overwritten
            widget.observe(self._follow, "value")

    @property
    def filled(self) -> dict[str, str]:
        return {name: str(field.value or "") for name, field in self._fields.items()}

    @property
    def line(self) -> str:
        return magic_line(self.filled)

    def find(self, wanted: str | None = None) -> None:
        """Look for models, inputs and scores in the user's namespace."""
        here = lab.namespace()
        model, given = self._fields["model"], self._fields["input"]
        labels = {about_model(each): each.name for each in here.models}
        self._offer("model", labels, wanted or model.value, here.model)
        given.options = self._fields["calib"].options = [each.name for each in here.tensors]
        given.value = given.value or here.input or ""
        self._fields["eval"].options = here.scores
        self._follow()
        self.rest("" if labels else alert(NO_MODEL))

    def learn(self, targets: Targets) -> None:
        """Show what can be measured on this machine."""
        self._targets = targets
        elsewhere = [row.target.name for row in targets.rows if not row.usable]
        self._offer("target", _target_labels(elsewhere), self._fields["target"].value)
        self._follow()

    def work(self) -> None:
        """Lock the form while a run goes on; only Cancel works."""
        self._enable(working=True)
        self.say("")

    def rest(self, message: str) -> None:
        self._enable(working=False)
        _show(self._progress, "")
        self.say(message)

    def show_progress(self, phase: str, detail: str, elapsed_s: float, step: int | None = None) -> None:
        _show(self._progress, steps(phase, detail, elapsed_s, step))

    def say(self, message: str) -> None:
        _show(self._message, message)

    def _enable(self, *, working: bool) -> None:
        for widget in (*self._fields.values(), self.refresh):
            widget.disabled = working
        self.start.disabled = working or self._fields["model"].value is None
        self.cancel.disabled = not working

    def _follow(self, change: Any = None) -> None:
        """Update everything that depends on the fields."""
        if self._offering:
            return
        toolchain = self._fields["toolchain"]
        if change is not None:
            self.say("")  # what the last run came to is not what these fields ask for
            if change.owner is self._fields["target"]:
                toolchain.value = ""
        row, _ = find_target(self._fields["target"].value)
        toolchain.options = [*(judge.toolchain for judge in row.judges), ALL]
        here = next((each for each in self._targets.rows if each.target is row), None) if self._targets else None
        judge = _judge_of(row, toolchain.value, here)
        self._fields["dtype"].options = dtypes_of(judge)
        self._fields["pattern"].placeholder = f"the target's, {judge.offers[0].pattern}"
        self._fields["sparsity"].placeholder = f"the target's, {judge.offers[0].sparsity:g}"
        self._about_target.value = about_target(row, judge, here)
        self._line.value = self.line
        self._line.rows = 1 + len(self.line) // LINE

    def _offer(self, name: str, labels: Mapping[str, str], *wanted: str | None) -> None:
        """Offer these values under their labels in a field, and select the first wanted one among them."""
        self._offering = True
        self._fields[name].options = list(labels.items())
        values = list(labels.values())
        self._fields[name].value = next((value for value in (*wanted, *values) if value in values), None)
        self._offering = False

    def _lay_out(self) -> Any:
        columns = [widgets.VBox([self._fields[name] for name in side], layout=COLUMN) for side in (LEFT, RIGHT)]
        side_by_side = widgets.GridBox(columns, layout={"grid_template_columns": COLUMNS, "grid_gap": "0 24px"})
        buttons = widgets.HBox([self.start, self.cancel, self.refresh])
        style = widgets.HTML(STYLE, layout={"display": "none"})
        parts = [side_by_side, self._about_target, self._line, buttons, self._progress, self._message]
        box = widgets.VBox([style, *parts])
        box.add_class("hwprune-panel")
        self._line.add_class("hwprune-line")
        return box


def _field(option: Option) -> Any:
    """Make the widget of an option: a list to choose from, a text field with suggestions, or a text field."""
    named = {"description": option.label, "layout": WIDE, "style": LABEL}
    if _is_count(option):
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return widgets.BoundedIntText(min=1, max=cores or 1, **named)
    if option.name == "target":  # which has labels for its values
        return widgets.Dropdown(**named)
    if option.choices and not option.open:
        return widgets.Dropdown(options=option.choices, **named)
    if option.choices or option.completes:
        return widgets.Combobox(options=option.choices, placeholder=option.placeholder, **named)
    return widgets.Text(placeholder=option.placeholder, **named)


def _is_count(option: Option) -> bool:
    """Say whether the option is a number that is never left out, of threads."""
    return option.type is int and option.default is not None


def _judge_of(target: Target, toolchain: str, here: TargetHere | None) -> Judge:
    """Return the judge that a run would use, as far as is known; the target's first for a toolchain not in its row."""
    usable = here.usable if here else ()
    return min(target.judges, key=lambda judge: (judge.toolchain != toolchain, judge.toolchain not in usable))


def _target_labels(elsewhere: Collection[str] = ()) -> dict[str, str]:
    names = {f"{row.name}{' (not here)' if row.name in elsewhere else ''}: {row.chip}": row.name for row in TARGETS}
    return {"cpu: this computer's": "cpu"} | names


def _show(widget: Any, page: str) -> None:
    widget.value, widget.layout.display = page, None if page else "none"
