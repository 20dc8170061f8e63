"""The report as our own renderer draws it: freshly run, in a notebook without a kernel, as a file, in Notebook 7."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Locator, expect

from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.render.fit import corner_of
from jupyter_hwprune.report import MIME_TYPE, Report, words

from . import documents
from .lab import Lab


def test_a_cell_shows_its_report_with_the_verdict_first(lab: Lab) -> None:
    cells = documents.code(documents.SETUP), documents.code(documents.PRUNE)
    path = documents.write(lab.server.notebooks, "run.ipynb", *cells)
    lab.open(path)
    lab.run(0)
    shown = lab.run(1).locator(".hwprune-report")
    lab.save()
    [data] = [each[MIME_TYPE] for each in documents.outputs(lab.server.notebooks / path) if MIME_TYPE in each]
    report = Report.from_json(json.dumps(data))
    check_against(shown, report)
    assert report.measurement.evidence.kind == "measured"
    tops = shown.locator(".hwprune-badge, dl, table").evaluate_all("all => all.map(e => e.getBoundingClientRect().top)")
    assert tops[0] == min(tops)


def test_a_saved_notebook_draws_it_without_a_kernel(lab: Lab) -> None:
    check_against(saved(lab, documents.small()), documents.small())


def test_a_file_opens_by_a_double_click(lab: Lab) -> None:
    documents.small().save(lab.server.notebooks / "here.hwprune.json")
    lab.start()
    lab.file("here.hwprune.json").dblclick()
    check_against(lab.page.locator(".jp-MimeDocument .hwprune-report"), documents.small())


def test_notebook_7_shows_the_same_and_has_the_side_panel(lab: Lab) -> None:
    in_lab = saved(lab, documents.small()).text_content()
    lab.open_notebook7("old.ipynb")
    shown = lab.page.locator(".hwprune-report")
    check_against(shown, documents.small())
    assert shown.text_content() == in_lab  # the least important columns give way to Notebook's narrower page
    side = lab.open_side_panel()
    expect(side.get_by_test_id("run")).to_contain_text("net for x86-cpu, channel/8")
    expect(side.get_by_text("There is no model: torch is not imported yet.")).to_be_visible()


def test_the_table_sorts_by_each_head_both_ways(lab: Lab) -> None:
    shown = saved(lab, documents.varied())
    for column, value in SORTED.items():
        expected = sorted(value(layer) for layer in documents.varied().layers)
        head = shown.get_by_role("columnheader", name=column, exact=True)
        for _ in range(2):
            head.get_by_role("button").click()
            descending = head.get_attribute("aria-sort") == "descending"
            names = shown.locator("tbody tr.hwprune-layer th").all_inner_texts()
            by_name = {layer.name: value(layer) for layer in documents.varied().layers}
            assert [by_name[name] for name in names] == (expected[::-1] if descending else expected), column


SORTED: dict[str, Any] = {
    "layer": lambda layer: int(layer.name.removeprefix("layer.")),
    "removed": lambda layer: layer.sparsity,
    "time, µs": lambda layer: layer.dense_us,
    "faster": lambda layer: layer.speed.speedup,
}


def test_words_and_states_narrow_the_table_down(lab: Lab) -> None:
    shown = saved(lab, documents.varied())
    rows = shown.locator("tbody tr.hwprune-layer")
    expect(rows).to_have_count(12)
    shown.get_by_role("searchbox").fill("layer.1")
    expect(rows).to_have_count(3)  # 1, 10 and 11
    expect(shown.get_by_text("3 of 12", exact=True)).to_be_visible()
    shown.get_by_role("searchbox").fill("no such layer")
    expect(rows).to_have_count(0)
    shown.get_by_role("searchbox").fill("")
    shown.get_by_role("combobox").select_option(label="slower (4)")
    expect(rows).to_have_count(4)
    for row in rows.all():
        expect(row).to_contain_text("slower 0.")


def test_a_row_opens_its_mask_magnified_to_single_weights_and_the_slider_shows_all_of_it(lab: Lab) -> None:
    report = documents.large(3, 64)
    shown = saved(lab, report)
    shown.get_by_role("button", name="model.layers.1.mlp.up_proj", exact=True).click()
    heatmap = shown.locator(".hwprune-heatmap")
    part = heatmap.locator("canvas").last
    expect(part).to_have_accessible_name(re.compile("rows 0 to 31, columns 0 to 31"))
    before = part.evaluate("canvas => canvas.toDataURL()")
    slider = heatmap.get_by_role("slider", name="zoom")
    slider.press("Home")
    expect(part).to_have_accessible_name(re.compile("rows 0 to 63, columns 0 to 63"))
    assert part.evaluate("canvas => canvas.toDataURL()") != before
    layer = next(each for each in report.layers if each.name.startswith("model.layers.1."))
    assert layer.picture is not None
    corner = corner_of(layer.picture)
    part.hover(position={"x": 2, "y": 2})
    expect(heatmap).to_contain_text(f"row 0, column 0: {'kept' if corner[0, 0] else 'gone'}")


def saved(lab: Lab, report: Report) -> Locator:
    """Open a notebook that was saved with the report, without a kernel, and return the report as it is drawn."""
    documents.write(lab.server.notebooks, "old.ipynb", documents.code(documents.PRUNE, mimebundle(report)))
    lab.open_without_kernel("old.ipynb")
    shown = lab.output(0).locator(".hwprune-report")
    expect(shown).to_be_visible()
    return shown


def check_against(shown: Locator, report: Report) -> None:
    expect(shown.locator(".hwprune-badge")).to_have_text(words.headline(report))
    expect(shown.get_by_role("heading", name=words.what(report), exact=True)).to_be_visible()
    for fact in words.facts(report):
        told = shown.locator("dl > dt", has_text=fact.name).locator("+ dd")
        expect(told.get_by_text(fact.said, exact=True)).to_be_visible()
    for layer, said in words.rows(report, words.words_of(report).columns):
        row = shown.get_by_role("row").filter(has=shown.page.get_by_role("button", name=words.name(layer), exact=True))
        for cell in (said["weight"], said["removed"], said["faster"]):
            expect(row).to_contain_text(cell)
        expect(row.get_by_role("img", name=f"Mask of {layer.name}")).to_be_visible()
