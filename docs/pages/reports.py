"""Recorded reports as HTML to include in pages, as a notebook without the extension shows them."""

from __future__ import annotations

from pathlib import Path

from jupyter_hwprune import Report
from jupyter_hwprune.render import mimebundle

RECORDED = Path(__file__).parents[1] / "recorded"


def pages() -> dict[str, str]:
    return {f"reports/{path.stem}.html": _shown(path) for path in sorted(RECORDED.glob("*.json"))}


def _shown(path: Path) -> str:
    report = Report.load(path)
    day, _, time = report.created.partition("T")
    said = f"Recorded {day} {time[:5]} UTC on {report.measurement.evidence.device}; not measured now."
    html = mimebundle(report)["text/html"]
    return f'<figure class="recorded">{html}<figcaption>{said}</figcaption></figure>\n'
