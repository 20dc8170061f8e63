"""The tab that compares runs: it follows them, keeps those whose outputs have gone, and is there after a reload."""

from __future__ import annotations

import dataclasses

from playwright.sync_api import Page, expect

from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import Fingerprints, Report, Scores

from . import documents
from .lab import Lab
from .looks import faint_texts, violations

LOAD = """from jupyter_hwprune import Report
from jupyter_hwprune.render import mimebundle
reports = map(Report.load, ("first.hwprune.json", "second.hwprune.json"))"""
SAVED_LAYOUT = """async () => {
    const { id, ...workspace } = await window.jupyterapp.serviceManager.workspaces.fetch(
        location.pathname.match(/workspaces\\/([^/]+)/)[1]);
    return JSON.stringify(workspace).includes('hwprune-comparison:');
}"""


def scored(place: int, sparsity: float, score: float) -> Report:
    report = documents.varied()
    return dataclasses.replace(
        report,
        created=f"2026-02-0{place}T00:00:00+00:00",
        request=dataclasses.replace(report.request, sparsity=sparsity),
        fingerprints=Fingerprints("dense", f"pruned-{place}"),
        scores=Scores("accuracy(net)", 0.98, score),
    )


def test_a_run_that_ends_appears_and_one_that_was_overwritten_stays(lab: Lab) -> None:
    scored(1, 0.25, 0.97).save(lab.server.notebooks / "first.hwprune.json")
    scored(2, 0.75, 0.95).save(lab.server.notebooks / "second.hwprune.json")
    cells = documents.code(LOAD), documents.code("display(mimebundle(next(reports)), raw=True)")
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.run(0)
    lab.run(1)
    expect(lab.output(1).locator(".hwprune-report")).to_be_visible()
    compare(lab.page)
    runs = lab.page.get_by_test_id("kept-run")
    expect(runs).to_have_count(1)
    lab.page.evaluate(SPLIT)
    expect(lab.panel).to_be_visible()
    lab.run(1)
    expect(runs).to_have_count(2)
    expect(runs.first).to_contain_text("2: 75 %")
    expect(runs.last).to_contain_text("1: 25 %")
    expect(runs.last).to_contain_text("kept without its output")
    check_sides(lab.page)
    lab.save()
    kept = documents.metadata(lab.server.notebooks / "run.ipynb")["jupyter-hwprune"]["runs"]
    assert [each["cell"] for each in kept] == ["cell-1", "cell-1"]
    assert all(layer["picture"] is None for each in kept for layer in each["report"]["layers"])

    lab.page.wait_for_function(SAVED_LAYOUT)
    lab.page.reload()
    lab.page.wait_for_function("() => window.jupyterapp")
    lab.page.evaluate("window.jupyterapp.restored")
    expect(runs).to_have_count(2)
    check_sides(lab.page)
    lab.page.get_by_test_id("frontier").get_by_role("button", name="1, 25 %").press("Enter")
    shown = lab.page.locator(".jp-hwprune-tab .hwprune-report")
    expect(shown).to_contain_text("This notebook keeps a short form of this run")
    expect(shown.locator(".hwprune-layer")).to_have_count(12)


SPLIT = """() => {
    const { shell } = window.jupyterapp;
    const [tab] = [...shell.widgets('main')].filter(each => each.id.startsWith('hwprune-comparison'));
    shell.add(tab, 'main', { mode: 'split-right' });
}"""


def check_sides(page: Page) -> None:
    sides = page.get_by_test_id("comparison")
    expect(sides.get_by_test_id("compare-sparsity")).to_have_text("sparsity (differs)" + "25 %" + "75 %")
    expect(sides.get_by_test_id("compare-batch")).to_be_hidden()
    marks = page.get_by_test_id("frontier").locator("svg.hwprune-chart .hwprune-mark")
    expect(marks).to_have_count(3)  # dense and both runs
    expect(page.get_by_test_id("compare-layers").locator("tbody tr")).to_have_count(12)


def test_a_click_on_a_point_shows_its_cell_and_what_cannot_be_compared_is_said(lab: Lab) -> None:
    other = scored(3, 0.5, 0.96)
    other = dataclasses.replace(other, request=dataclasses.replace(other.request, threads=7))
    reports = [scored(1, 0.25, 0.97), scored(2, 0.75, 0.95), other]
    cells = [documents.code(documents.PRUNE, mimebundle(each)) for each in reports]
    documents.write(lab.server.notebooks, "old.ipynb", *cells)
    lab.open_without_kernel("old.ipynb")
    compare(lab.page)
    tab = lab.page.locator(".jp-hwprune-tab:visible")
    expect(tab.get_by_role("note")).to_have_text("Their times cannot be compared: they differ in threads.")
    expect(tab.get_by_test_id("not-drawn")).to_have_text("Not drawn: 3 (50 %, 7 threads): it differs in threads.")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        lab.command("apputils:change-theme", theme=theme)
        expect(lab.page.locator("body")).to_have_attribute("data-jp-theme-name", theme)
        expect(tab).to_be_visible()
        assert faint_texts(tab) == [], theme
        assert violations(tab) == [], theme
    tab.get_by_role("checkbox", name="Compare run 3").uncheck()
    expect(tab.get_by_role("note")).to_have_count(0)
    tab.get_by_test_id("frontier").get_by_role("button", name="2, 75 %").click()
    expect(lab.cell(1).locator(".hwprune-badge")).to_be_in_viewport()
    assert "jupyter-hwprune" not in documents.metadata(lab.server.notebooks / "old.ipynb")


def test_notebook_7_opens_it_below_the_notebook_high_enough_to_read_and_closes_it(lab: Lab) -> None:
    cells = [documents.code(documents.PRUNE, mimebundle(scored(i, i / 4, 1 - i / 100))) for i in (1, 3)]
    lab.open_notebook7(documents.write(lab.server.notebooks, "old.ipynb", *cells))
    compare(lab.page)
    tab = lab.page.locator(".jp-hwprune-tab:visible")
    for part in (tab.get_by_test_id("kept-run").last, tab.get_by_test_id("frontier").locator("svg.hwprune-chart")):
        expect(part).to_be_in_viewport(ratio=1)
    expect(lab.cell(0).locator(".hwprune-badge")).to_be_in_viewport(ratio=1)
    tab.get_by_test_id("frontier").get_by_role("button", name="1, 25 %").click()
    expect(lab.cell(0).locator(".hwprune-badge")).to_be_in_viewport(ratio=1)
    lab.page.locator("#jp-down-stack .lm-TabBar-tabCloseIcon").click()
    expect(tab).to_have_count(0)
    expect(lab.page.locator("#jp-down-stack")).to_be_hidden()


def compare(page: Page) -> None:
    page.evaluate("window.jupyterapp.commands.execute('hwprune:compare')")
