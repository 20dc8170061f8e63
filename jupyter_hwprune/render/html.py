"""A report as one script-free block of HTML that takes its colours from the page around it, light or dark.

Styles stand on the elements: notebooks strip style sheets from outputs they do not trust. GitHub strips the styles too,
and the pictures: bars are letters, and the masks stand below in letters as well. Every word comes escaped.
"""

import base64
import re
from collections.abc import Sequence
from html import escape

from ..core.errors import counted
from ..report import Layer, Report, words
from ..report.words import Key, Words
from ..report.words.corners import Table
from . import blocks, frontier, sensitivity, training
from .fit import pictured
from .tables import FIRST_ROWS, folding_table

MOST_LAYERS = 40  # the others are in the report
MOST_MASKS = 4  # in letters; the picture has more
# blue and vermilion of Okabe and Ito's palette: distinct for every kind of colour vision, readable under white text
BADGES = {
    "faster": "#0072B2",
    "faster at a cost": "#7A5C00",
    "slower": "#B34700",
    "no measurable gain": "#5f6368",
    "not measured": "#5f6368",
}
GREY, BLUE = "#80868b", BADGES["faster"]
LEFT = ' align="left" style="text-align:left"'
LINES = "margin:0 0 6px 16px;white-space:pre-wrap;word-break:normal"  # the notebook's own style breaks words
LETTERS = "font-family:monospace;line-height:1;white-space:pre"


def render(report: Report, picture: bytes | None) -> str:
    """Return the HTML; `picture` is the PNG of the masks, shown below the table."""
    said = words.words_of(report)
    parts = [_verdict(said), _next(report), *map(_side_by_side, filter(None, [said.corners, said.runtimes]))]
    if report.search is not None and said.search is not None:
        shown = _image(frontier.picture(report.search), f"Score against time of each plan, {said.title}")
        shown += _side_by_side(said.search)
        parts.append(f"<details open><summary>what the search tried</summary>{shown}</details>")
    if said.training is not None:
        plot = training.picture(report)
        shown = "" if plot is None else _image(plot, f"Score after each step of the training, {said.title}")
        shown += _side_by_side(said.training)
        parts.append(f"<details open><summary>the training, step by step</summary>{shown}</details>")
    parts += [_facts(said, report), _layers(report, said)]
    if picture is not None:
        shown = f"Density tiles and mask corners of the pruned layers, {said.title}; in letters below"
        parts += [_image(picture, shown), _masks(report)]
    scan = report.sensitivity
    if scan is not None and scan.curves:
        chosen = {layer.name: layer.sparsity for layer in report.layers}
        plot = sensitivity.picture(scan, chosen)
        shown = _image(plot, f"What pruning each layer alone does to the model, {said.title}")
        shown += sensitivity.table(scan, chosen)
        parts.append(f"<details open><summary>how sensitive each layer is</summary>{shown}</details>")
    parts.append(_folded("dense again, since they gained nothing", said.returned, len(report.returned)))
    parts.append(_folded("left dense, and why", said.left_dense, len(report.skipped)))
    parts += [f"<p>{escape(each)}</p>" for each in report.omitted]
    return f'<div style="max-width:1200px">{"".join(parts)}</div>'


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    style = "max-width:100%;height:auto;margin-top:8px"
    return f'<img alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'


def _verdict(said: Words) -> str:
    """Show the headline; only a verdict is coloured."""
    colour = BADGES.get(said.badge)
    look = "border:1px solid" if colour is None else f"background:{colour};color:#fff"
    badge = f'<b style="{look};padding:2px 10px;border-radius:4px;font-size:120%">{escape(said.headline)}</b>'
    beside = f" &nbsp;{escape(said.interval)}" if said.interval else ""
    return f"<p><b>{escape(said.title)}</b></p><p>{badge}{beside}</p>"


def _next(report: Report) -> str:
    """Show the next steps; their lines stand in blocks of their own, to be copied."""
    return "".join(
        f'<p style="margin-bottom:2px"><b>Next:</b> {_with_code(step.what)}</p>'
        f'<pre style="{LINES}"><code>{escape(step.line)}</code></pre>'
        for step in report.next_steps
    )


def _side_by_side(table: Table) -> str:
    """Show a table of models, a row for each."""
    head = "".join(f'<th{LEFT} scope="col">{escape(name)}</th>' for name in table.head)
    rows = ""
    for first, *others in table.rows:
        cells = "".join(f"<td{LEFT}>{_unbroken(cell)}</td>" for cell in others)
        rows += f'<tr><th{LEFT} scope="row">{_unbroken(first)}</th>{cells}</tr>'
    return f"<table><tr>{head}</tr>{rows}</table>"


def _facts(said: Words, report: Report) -> str:
    rows = [(fact.name, fact.said) for fact in said.facts]
    rows += [(each.code, words.mistake(each)) for each in report.mistakes]
    rows += [("why", reason) for reason in report.reasons]
    cells = "".join(
        f'<tr><th{LEFT} scope="row">{_unbroken(name)}</th><td{LEFT}>{_with_code(fact)}</td></tr>' for name, fact in rows
    )
    return f"<table>{cells}</table>"


def _layers(report: Report, said: Words) -> str:
    names = {column.key: column.name for column in said.columns}
    head = ["layer", names["weight"], "pattern", *(names[key] for key in ("removed", "macs", "time")), "dense, pruned"]
    head += [names[key] for key in ("valid", "used", "faster", "kernel")]
    longest = max((max(_lengths(layer)) for layer in report.layers), default=0)
    rows = [_layer(layer, cells, longest) for layer, cells in words.rows(report, said.columns)[:MOST_LAYERS]]
    more = len(report.layers) - len(rows)
    rest = f"the {len(rows) - FIRST_ROWS} next layers" if more else "all other layers"
    below = [f"{more} more layers, each below these, are in the report's layers."] if more else []
    below += said.notes
    table = folding_table([f"<th{LEFT}>{name}</th>" for name in head], rows, rest)
    return table + (f"<p>{escape(' '.join(below))}</p>" if below else "")


def _layer(layer: Layer, said: dict[Key, str], longest: float) -> str:
    cells = [escape(words.name(layer, 60)), escape(said["weight"]), escape(layer.pattern), said["removed"]]
    cells += [_unbroken(said["macs"]), _unbroken(said["time"]), _bars(layer, longest), escape(said["valid"])]
    cells += [said["used"], _unbroken(said["faster"]), escape(said["kernel"][:80])]
    return "<tr>" + "".join(f"<td{LEFT}>{cell}</td>" for cell in cells) + "</tr>"


def _with_code(said: str) -> str:
    """Escape text, and show text in backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(said))


def _unbroken(said: str) -> str:
    """Escape text and keep it on one line without styles."""
    return escape(said).replace(" ", "&nbsp;")


def _bars(layer: Layer, longest: float) -> str:
    """Draw dense above pruned, with one scale for all layers; estimates are not coloured."""
    lengths = _lengths(layer)
    if not all(lengths):
        return ""
    dense, pruned = (blocks.bar(length, longest) for length in lengths)
    colour = GREY if layer.estimate is not None else BLUE
    coloured = f'<span style="color:{GREY}">{dense}</span><br><span style="color:{colour}">{pruned}</span>'
    return f'<div aria-hidden="true" style="{LETTERS};font-size:8px">{coloured}</div>'


def _lengths(layer: Layer) -> tuple[float, float]:
    """Return the values of the dense and the pruned bar, 0 if unknown."""
    if layer.estimate is not None:
        return layer.estimate.dense, layer.estimate.pruned
    return layer.dense_us or 0, layer.pruned_us or 0


def _masks(report: Report) -> str:
    """Show the costliest layers' masks in characters, for viewers without pictures."""
    drawn = pictured(report)[:MOST_MASKS]
    whose = "the masks" if len(drawn) == len(report.layers) else f"the masks of the {len(drawn)} costliest layers"
    shown = "\n\n".join(escape(blocks.mask(*each)) for each in drawn)
    return (
        f"<details><summary>{whose} in letters</summary><p>{escape(blocks.LEGEND)}</p>"
        f'<pre style="{LETTERS};font-size:11px">{shown}</pre></details>'
    )


def _folded(about: str, said: Sequence[str], layers: int) -> str:
    """Return a list that opens on a click, in plain HTML."""
    if not said:
        return ""
    items = "".join(f"<li>{escape(line[:300])}</li>" for line in said[:20])
    more = f"<li>and {len(said) - 20} more</li>" if len(said) > 20 else ""
    return f"<details><summary>{counted(layers, 'layer')} {about}</summary><ul>{items}{more}</ul></details>"
