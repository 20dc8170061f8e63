"""The panel's texts as HTML; everything that comes from the user or a toolchain is escaped."""

from html import escape

from ..core.target import Judge, Target
from ..survey.matrix import TargetHere
from .lab import Model
from .progress import STEPS

NO_REPORT = "The report will appear here. If there is no form above, run this cell again, or this line:"
MOVED = "The form has moved to another cell. It writes this line:"
RUN_AGAIN = "Run this cell again to see the form. It ran this line{}:"
NO_MODEL = "There is no model here yet: no torch nn.Module with parameters. Make one in a cell, then press Refresh."
STYLE = """<style>
.hwprune-panel { border: 1px solid var(--jp-border-color2, #8886); border-radius: 4px; gap: 10px; margin: 4px 0 10px;
  max-width: 880px; padding: 14px 18px 16px; }
.hwprune-panel .widget-html-content { line-height: 1.5; }
.hwprune-panel .hwprune-line textarea { field-sizing: content; font-family: var(--jp-code-font-family, monospace);
  resize: none; }
[data-jp-theme-light="false"] .hwprune-panel select { appearance: auto; background-image: none; color-scheme: dark; }
.hwprune-panel .hwprune-aside { opacity: 0.75; }
.hwprune-panel :is(.hwprune-alert, .hwprune-said) { border-left: 3px solid var(--jp-info-color1, #0288d1);
  padding-left: 10px; }
.hwprune-panel .hwprune-alert { border-color: var(--jp-error-color1, #d32f2f); }
</style>"""


def alert(text: str) -> str:
    return f'<div class="hwprune-alert" role="alert">{escape(text)}</div>'


def said(text: str) -> str:
    return f'<div class="hwprune-said" role="status">{escape(text)}</div>'


def steps(phase: str, detail: str, elapsed_s: float, step: int | None) -> str:
    """Return the steps in order with the furthest one marked, under the name of its phase, and what is done now."""
    heads = [phase if at == step and phase in phases else phases[0] for at, phases in enumerate(STEPS)]
    names = [f"<b>{escape(name)}</b>" if at == step else f"<span>{name}</span>" for at, name in enumerate(heads)]
    now = f"{phase}, {detail}" if detail and phase not in heads else detail or phase
    return f'<div class="hwprune-steps">{" → ".join(names)} · {elapsed_s:.0f} s<br>{escape(now)}</div>'


def about_model(model: Model) -> str:
    size = "lazy" if model.parameters is None else f"{model.parameters:,} parameters"
    return f"{model.name}: {model.kind}, {size}"


def about_target(target: Target, judge: Judge, here: TargetHere | None) -> str:
    """Say which toolchains measure the target here, or why none does and how to fix that."""
    if here is None:
        return _quiet(f"{target.name}: checking which toolchains work here …")
    hindrance = here.obstacles.get(judge.toolchain)
    if hindrance is None:
        others = [name for name in here.usable if name != judge.toolchain]
        return _quiet(f"{target.name}: measured here with {' or '.join([judge.toolchain, *others])}.")
    cure = f" To fix this: {hindrance.cure}." if hindrance.cure else ""
    return _quiet(f"{target.name}: pruned and checked, but not measured here: {hindrance.reason}.{cure}")


def _quiet(text: str) -> str:
    return f'<div class="hwprune-aside">{escape(text)}</div>'


def static(sentence: str, line: str) -> dict[str, str]:
    """Return static output that any viewer of the saved notebook can show."""
    page = f"<div>{escape(sentence)}<br><code>{escape(line)}</code></div>"
    return {"text/plain": f"hwprune: {sentence}\n{line}", "text/html": page}
