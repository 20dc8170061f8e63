"""Reports made to do harm, or damaged: nothing of them runs, the page goes on, a sentence says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from jupyter_hwprune import Report
from jupyter_hwprune.notebook.progress import MIME_TYPE as PROGRESS
from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import MIME_TYPE

from . import documents, hostile
from .documents import only_json
from .lab import Lab

FREEZE_S = 10
MB = 1_000_000
DANGEROUS = "script, iframe, img, object, embed, link, style, a[href^='javascript'], [onload], [onerror], [onmouseover]"
# the longest time in which the page did nothing else, since it was asked to watch
WATCH_STILLNESS = """() => {
    window.stillness = 0;
    let last = performance.now();
    setInterval(() => {
        window.stillness = Math.max(window.stillness, performance.now() - last);
        last = performance.now();
    }, 50);
}"""


def test_scripts_in_a_report_and_its_progress_are_shown_as_text_and_never_run(lab: Lab) -> None:
    report = hostile.scripted(documents.plain_data(documents.varied()))
    progress = {"version": 1, "state": "running", "elapsed_s": 1, "summary": None}
    harm = {PROGRESS: progress | {"phase": hostile.SCRIPTS[0], "detail": hostile.SCRIPTS[1]}}
    cell = documents.code(documents.PRUNE, harm, only_json(report), only_json(report))
    documents.write(lab.server.notebooks, "bad.ipynb", cell)
    lab.open_without_kernel("bad.ipynb")
    shown = lab.panel.locator(".hwprune-report").first
    use_everything(shown)
    side = lab.open_side_panel()
    for box in side.get_by_test_id("run").get_by_role("checkbox").all():
        box.check()
    side.get_by_test_id("compare").click()
    expect(side.get_by_test_id("comparison")).to_be_visible()
    for part in (lab.cell(0).locator(".jp-OutputArea"), side):
        expect(part.locator(DANGEROUS)).to_have_count(0)
    for script in hostile.SCRIPTS:
        expect(shown).to_contain_text(script)
    unharmed(lab.page)


def test_the_plain_page_of_the_same_report_runs_no_script_either(page: Page) -> None:
    report = Report.from_json(json.dumps(hostile.scripted(documents.plain_data(documents.varied()))))
    html = mimebundle(report)["text/html"]
    assert "window.harmed" in html
    page.set_content(html)
    for each in page.locator("details").all():
        each.evaluate("details => details.open = true")
    expect(page.locator(DANGEROUS.replace("img", "img:not([src^='data:image/png'])"))).to_have_count(0)
    unharmed(page)


def test_values_of_wrong_types_leave_the_rest_of_a_report_to_be_seen(lab: Lab) -> None:
    reports = list(hostile.of_wrong_types(documents.plain_data(documents.small())))
    documents.write(lab.server.notebooks, "bad.ipynb", *(documents.code("1", only_json(each)) for each in reports))
    lab.open_without_kernel("bad.ipynb")
    shown = lab.panel.locator(".hwprune-report")
    expect(shown).to_have_count(len(reports))
    expect(shown.locator(".hwprune-badge")).to_have_count(len(reports))
    expect(shown.first.locator(".hwprune-notice")).to_contain_text("created is nothing.")
    unharmed(lab.page)


SENTENCES: dict[str, tuple[Any, str]] = {
    "a newer schema": ({"schema_version": 99}, "This report has schema version 99; this extension reads version"),
    "an older schema": ({"schema_version": 1}, "Make the report again to see all that is known today."),
    "no number as schema": ({"schema_version": "<b>4</b>"}, "This report has no schema version"),
}


@pytest.mark.parametrize(("change", "said"), SENTENCES.values(), ids=SENTENCES)
def test_another_schema_is_named_and_what_is_understood_is_shown(lab: Lab, change: dict[str, Any], said: str) -> None:
    data = documents.plain_data(documents.small()) | change | {"a_field_of_tomorrow": {"x": [1]}}
    documents.write(lab.server.notebooks, "other.ipynb", documents.code("1", only_json(data)))
    lab.open_without_kernel("other.ipynb")
    shown = lab.output(0).locator(".hwprune-report")
    expect(shown.locator(".hwprune-notice")).to_contain_text(said)
    expect(shown.get_by_role("button", name="1.0", exact=True)).to_be_visible()


@pytest.mark.parametrize("data", [[], "text", 4, True, {"a": 1}], ids=str)
def test_what_is_no_report_at_all_is_said_in_one_sentence(lab: Lab, data: Any) -> None:
    documents.write(lab.server.notebooks, "none.ipynb", documents.code("1", only_json(data)))
    lab.open_without_kernel("none.ipynb")
    expect(lab.output(0)).to_have_text(re.compile(r"^This is (JSON, but )?no hwprune report: it .*\.$"))


FILES = {
    "NaN": ('{"schema_version": 4, "created": NaN}', "This is no hwprune report: it is not JSON"),
    "half a file": ('{"schema_version": 4, "created": "2026', "This is no hwprune report: it is not JSON"),
    "an empty file": ("", "This is no hwprune report: it is not JSON"),
    "lists in lists": (hostile.nested(100_000), "Not all of this report can be read: created is missing"),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_damaged_file_opens_with_a_sentence(lab: Lab, text: str, said: str) -> None:
    (lab.server.notebooks / "bad.hwprune.json").write_text(text)
    lab.start()
    lab.file("bad.hwprune.json").dblclick()
    expect(lab.page.locator(".jp-MimeDocument .hwprune-notice")).to_contain_text(said)
    unharmed(lab.page)


def test_a_field_of_100_mb_in_an_output_is_cut_and_the_page_goes_on(
    lab: Lab, figure: Callable[[str, float], None]
) -> None:
    documents.write(lab.server.notebooks, "large.ipynb", documents.code("1"))
    lab.open_without_kernel("large.ipynb")
    lab.page.evaluate(WATCH_STILLNESS)
    lab.page.evaluate(
        """([type, report, size]) => {
            report.layers[0].name = 'x'.repeat(size);
            const cell = window.jupyterapp.shell.currentWidget.content.widgets[0];
            cell.model.outputs.add({ output_type: 'display_data', data: { [type]: report }, metadata: {} });
        }""",
        [MIME_TYPE, documents.plain_data(documents.small()), 100 * MB],
    )
    shown = lab.output(0).locator(".hwprune-report")
    expect(shown.locator(".hwprune-notice")).to_contain_text("has 100000000 characters, of which the first")
    still_s = lab.page.evaluate("window.stillness") / 1000
    figure("page_stood_still_s", still_s)
    assert still_s < FREEZE_S
    assert shown.evaluate("report => report.textContent.length") < MB
    unharmed(lab.page)


def test_a_file_of_100_mb_is_refused_with_its_size(lab: Lab, figure: Callable[[str, float], None]) -> None:
    text = json.dumps(documents.plain_data(documents.small()) | {"chip": "x" * 100 * MB})
    (lab.server.notebooks / "large.hwprune.json").write_text(text)
    lab.start()
    lab.page.evaluate(WATCH_STILLNESS)
    lab.file("large.hwprune.json").dblclick()
    expect(lab.page.locator(".jp-MimeDocument .hwprune-notice")).to_contain_text(
        "This file has 95 MB and is not opened"
    )
    still_s = lab.page.evaluate("window.stillness") / 1000
    figure("page_stood_still_s", still_s)
    assert still_s < FREEZE_S
    unharmed(lab.page)


def use_everything(report: Locator) -> None:
    """Hover over, focus and press all that can be."""
    report.evaluate("report => report.querySelectorAll('details').forEach(each => { each.open = true; })")
    for button in report.get_by_role("button").all():
        button.hover()
        button.click()
    for part in report.locator("dd, li, p, canvas, th, td").all():
        part.dispatch_event("mouseover")


def unharmed(page: Page) -> None:
    """Fail where a script of the report has run, or the page does not answer any more."""
    assert page.evaluate("typeof window.harmed") == "undefined"
    assert page.evaluate("new Promise(resolve => requestAnimationFrame(() => resolve('alive')))") == "alive"
