"""Reports made to do harm, or damaged: nothing of them runs, the page goes on, a sentence says what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

from jupyter_hwprune import Report
from jupyter_hwprune.notebook.progress import MIME_TYPE as PROGRESS
from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import MIME_TYPE

from . import documents, hostile
from .documents import only_json
from .lab import Lab

FREEZE_S = 10
NO_REPORTS: tuple[Any, ...] = ([], "text", 4, True, {"a": 1})
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
    progress = {"version": 1, "state": "running", "elapsed_s": 1, "summary": None, "step": None}
    harm = {PROGRESS: progress | {"phase": hostile.SCRIPTS[0], "detail": hostile.SCRIPTS[1]}}
    another = report | {"created": hostile.SCRIPTS[2]}
    cell = documents.code(documents.PRUNE, harm, only_json(report), only_json(another))
    kept = {"runs": [{"cell": hostile.SCRIPTS[0], "report": report | {"created": hostile.SCRIPTS[3]}}], "dropped": "1"}
    metadata: dict[str, Any] = {"jupyter-hwprune": kept}
    documents.write(lab.server.notebooks, "bad.ipynb", cell, **metadata)
    lab.open_without_kernel("bad.ipynb")
    shown = lab.panel.locator(".hwprune-report").first
    use_everything(shown)
    for script in hostile.SCRIPTS:
        expect(shown).to_contain_text(script)
    expect(lab.cell(0).locator(".jp-OutputArea").locator(DANGEROUS)).to_have_count(0)
    side = lab.open_side_panel()
    for box in side.get_by_test_id("run").get_by_role("checkbox").all():
        box.check()
    side.get_by_test_id("compare").click()
    tab = lab.page.locator(".jp-hwprune-tab")
    expect(tab.get_by_test_id("kept-run")).to_have_count(3)
    expect(tab.get_by_test_id("comparison")).to_be_visible()
    tab.get_by_test_id("frontier").get_by_role("button").first.press("Enter")
    expect(lab.page.locator(".jp-hwprune-tab .hwprune-report")).to_be_visible()
    for part in (side, *lab.page.locator(".jp-hwprune-tab").all()):
        expect(part.locator(DANGEROUS)).to_have_count(0)
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


def test_another_schema_is_named_and_what_is_understood_is_shown(lab: Lab) -> None:
    said = {
        99: "This report has schema version 99; this extension reads version",
        1: "Make the report again to see all that is known today.",
        "<b>4</b>": "This report has no schema version",
    }
    report = documents.plain_data(documents.small()) | {"a_field_of_tomorrow": {"x": [1]}}
    cells = [documents.code("1", only_json(report | {"schema_version": version})) for version in said]
    documents.write(lab.server.notebooks, "other.ipynb", *cells)
    lab.open_without_kernel("other.ipynb")
    for index, sentence in enumerate(said.values()):
        shown = lab.output(index).locator(".hwprune-report")
        expect(shown.locator(".hwprune-notice")).to_contain_text(sentence)
        expect(shown.get_by_role("button", name="1.0 Conv2d", exact=True)).to_be_visible()


def test_what_is_no_report_at_all_is_said_in_one_sentence(lab: Lab) -> None:
    cells = [documents.code("1", only_json(data)) for data in NO_REPORTS]
    documents.write(lab.server.notebooks, "none.ipynb", *cells)
    lab.open_without_kernel("none.ipynb")
    for index in range(len(cells)):
        expect(lab.output(index)).to_have_text(re.compile(r"^This is (JSON, but )?not an hwprune report: it .*\.$"))


def test_damaged_files_open_with_a_sentence(lab: Lab) -> None:
    files = {
        "nan": ('{"schema_version": 4, "created": NaN}', "This is not an hwprune report: it is not JSON"),
        "half": ('{"schema_version": 4, "created": "2026', "This is not an hwprune report: it is not JSON"),
        "empty": ("", "This is not an hwprune report: it is not JSON"),
        "nested": (hostile.nested(100_000), "Not all of this report can be read: created is missing"),
    }
    for name, (text, _) in files.items():
        (lab.server.notebooks / f"{name}.hwprune.json").write_text(text)
    lab.start()
    for name, (_, said) in files.items():
        lab.file(f"{name}.hwprune.json").dblclick()
        expect(lab.page.locator(".jp-MimeDocument:visible .hwprune-notice")).to_contain_text(said)
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
