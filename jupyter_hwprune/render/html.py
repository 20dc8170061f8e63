"""A report as one script-free block of HTML that takes its colours from the page around it, light or dark.

Styles stand on the elements: notebooks strip style sheets from outputs they do not trust. GitHub strips the styles too,
and the pictures: bars are letters, and the masks stand below in letters as well. Every word comes escaped.
"""

from __future__ import annotations

import base64
from html import escape

from ..errors import counted
from ..report import Layer, Report
from . import blocks, sensitivity, words

FIRST_LAYERS = 12
MOST_LAYERS = 40  # the others are in the report
MOST_MASKS = 4  # in letters; the picture has more
# blue and vermilion of Okabe and Ito's palette, apart for every kind of colour vision; both carry white text
BADGES = {"faster": "#0072B2", "slower": "#B34700", "no measurable gain": "#5f6368", "not measured": "#5f6368"}
COLUMNS = (
    "layer",
    "weight",
    "pattern",
    "removed",
    "MACs",
    "time, µs",
    "dense, pruned",
    "valid",
    "used",
    "faster",
    "kernel",
)
LEFT = ' align="left" style="text-align:left"'
LETTERS = "font-family:monospace;line-height:1;white-space:pre"


def render(report: Report, picture: bytes | None, plot: bytes | None = None) -> str:
    """Return the page; `picture` is the PNG of the masks, shown below the table, and `plot` that of the scan."""
    parts = [_verdict(report), _facts(report), _layers(report)]
    if picture is not None:
        shown = f"Density tiles and mask corners of the pruned layers, {words.what(report)}; in letters below"
        parts += [_image(picture, shown), _masks(report)]
    if plot is not None and report.sensitivity is not None:
        shown = _image(plot, f"What pruning each layer alone does to the model, {words.what(report)}")
        shown += sensitivity.table(report.sensitivity, chosen(report))
        parts.append(f"<details open><summary>how sensitive each layer is</summary>{shown}</details>")
    parts.append(_folded("dense again, since they gained nothing", words.returned(report), len(report.returned)))
    parts.append(_folded("left dense, and why", words.left_dense(report.skipped), len(report.skipped)))
    parts += [f"<p>{escape(said)}</p>" for said in report.omitted]
    return f'<div style="max-width:1200px">{"".join(parts)}</div>'


def chosen(report: Report) -> dict[str, float]:
    """Return the share that each layer lost in the end; layers left dense are not in it."""
    return {layer.name: layer.sparsity for layer in report.layers}


def _image(png: bytes, alt: str) -> str:
    data = base64.b64encode(png).decode("ascii")
    style = "max-width:100%;height:auto;margin-top:8px"
    return f'<img alt="{escape(alt)}" style="{style}" src="data:image/png;base64,{data}">'


def _verdict(report: Report) -> str:
    colour = BADGES[report.verdict]
    badge = (
        f'<b style="background:{colour};color:#fff;padding:2px 10px;border-radius:4px;font-size:120%">'
        f"{escape(words.headline(report))}</b>"
    )
    interval = words.interval(report.deciding)
    beside = f" &nbsp;{escape(interval)}" if interval else ""
    return f"<p><b>{escape(words.what(report))}</b></p><p>{badge}{beside}</p>"


def _facts(report: Report) -> str:
    rows = words.facts(report) + [("why", reason) for reason in report.reasons]
    cells = "".join(
        f'<tr><th{LEFT} scope="row">{_unbroken(name)}</th><td{LEFT}>{escape(said)}</td></tr>' for name, said in rows
    )
    return f"<table>{cells}</table>"


def _layers(report: Report) -> str:
    layers = words.by_weight(report)
    longest = max((max(layer.dense_us or 0, layer.pruned_us or 0) for layer in layers), default=0)
    rows = [_layer(layer, longest) for layer in layers[:MOST_LAYERS]]
    parts = [_table(rows[:FIRST_LAYERS])]
    if len(rows) > FIRST_LAYERS:
        rest = f"the {len(rows) - FIRST_LAYERS} next layers" if len(layers) > len(rows) else "all other layers"
        parts.append(f"<details><summary>{rest}</summary>{_table(rows[FIRST_LAYERS:])}</details>")
    below = []
    if len(layers) > MOST_LAYERS:
        below.append(f"{len(layers) - MOST_LAYERS} more layers, each below these, are in the report's layers.")
    if any(layer.utilization is not None for layer in layers):
        below.append(words.UTILIZATION)
    if (others := words.other_kernels(report)) is not None:
        below.append(f"Kernels of no pruned layer: {others}.")
    return "".join(parts) + (f"<p>{escape(' '.join(below))}</p>" if below else "")


def _table(rows: list[str]) -> str:
    head = "".join(f"<th{LEFT}>{name}</th>" for name in COLUMNS)
    return (
        '<div style="overflow-x:auto"><table style="white-space:nowrap;font-size:12px">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _layer(layer: Layer, longest: float) -> str:
    time = words.UNKNOWN
    if layer.dense_us is not None or layer.pruned_us is not None:
        time = f"{words.microseconds(layer.dense_us)} → {words.microseconds(layer.pruned_us)}"
    cells = (
        escape(words.name(layer, 60)),
        escape(words.shapes(layer)),
        escape(layer.pattern),
        words.share(layer.sparsity),
        _unbroken(f"{words.count(layer.macs)} → {words.count(layer.pruned_macs)}"),
        _unbroken(time),
        _bars(layer, longest),
        escape(words.valid(layer)),
        words.yes_no(layer.used),
        _unbroken(words.speed(layer.speed)),
        escape(words.kernels(layer)[:80]),
    )
    return "<tr>" + "".join(f"<td{LEFT}>{cell}</td>" for cell in cells) + "</tr>"


def _unbroken(said: str) -> str:
    """Escape what should stay on one line where styles cannot say so."""
    return escape(said).replace(" ", "&nbsp;")


def _bars(layer: Layer, longest: float) -> str:
    """Draw dense above pruned, to one scale over all layers."""
    if layer.dense_us is None or layer.pruned_us is None or not longest:
        return ""
    dense, pruned = (blocks.bar(us, longest) for us in (layer.dense_us, layer.pruned_us))
    coloured = f'<span style="color:#80868b">{dense}</span><br><span style="color:{BADGES["faster"]}">{pruned}</span>'
    return f'<div aria-hidden="true" style="{LETTERS};font-size:8px">{coloured}</div>'


def _masks(report: Report) -> str:
    """Show the costliest layers' masks where no picture is shown, or none can be seen."""
    drawn = [layer for layer in words.by_weight(report) if layer.picture is not None][:MOST_MASKS]
    whose = "the masks" if len(drawn) == len(report.layers) else f"the masks of the {len(drawn)} costliest layers"
    shown = "\n\n".join(escape(blocks.mask(layer)) for layer in drawn)
    return (
        f"<details><summary>{whose} in letters</summary><p>{escape(blocks.LEGEND)}</p>"
        f'<pre style="{LETTERS};font-size:11px">{shown}</pre></details>'
    )


def _folded(about: str, said: list[str], layers: int) -> str:
    """Return a list that opens on a click, in plain HTML."""
    if not said:
        return ""
    items = "".join(f"<li>{escape(line[:300])}</li>" for line in said[:20])
    more = f"<li>and {len(said) - 20} more</li>" if len(said) > 20 else ""
    return f"<details><summary>{counted(layers, 'layer')} {about}</summary><ul>{items}{more}</ul></details>"
