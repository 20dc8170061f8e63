"""The next steps in a report: their lines are copied, or inserted below as a cell that nothing runs."""

from __future__ import annotations

import os
from dataclasses import replace

from playwright.sync_api import expect

from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import NextStep

from . import documents
from .lab import Lab

LINE = "%%hwprune net --input x --pattern channel/8 --sparsity 0.5 -o run\n# train net here\naccuracy(net)"
HOSTILE = "%hwprune net\nimport os; os.abort()"


def test_a_line_is_copied_or_inserted_below_and_never_run(lab: Lab) -> None:
    steps = (NextStep("Fine-tune, since the score fell: put your training into this cell", LINE),)
    report = replace(documents.small(), next_steps=(*steps, NextStep("Harm", HOSTILE)))
    cells = documents.code(documents.PRUNE, mimebundle(report)), documents.code("last = 1")
    documents.write(lab.server.notebooks, "next.ipynb", *cells)
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.open("next.ipynb")
    lab.cell(1).locator(".cm-content").click()  # another cell is the active one
    shown = lab.output(0).locator(".hwprune-next")
    expect(shown).to_contain_text("Next: Fine-tune, since the score fell")
    if "HWPRUNE_LOOK" in os.environ:
        lab.page.screenshot(path=os.environ["HWPRUNE_LOOK"])
    below_verdict, above_rest = shown.bounding_box(), lab.output(0).locator(".hwprune-section").first.bounding_box()
    assert below_verdict is not None
    assert above_rest is not None
    assert below_verdict["y"] < above_rest["y"]
    shown.get_by_role("button", name="Copy").first.click()
    expect(shown.get_by_text("Copied")).to_be_visible()
    assert lab.page.evaluate("navigator.clipboard.readText()") == LINE
    shown.get_by_role("button", name="Insert below").last.click()  # of the line that is none of ours
    shown.get_by_role("button", name="Insert below").first.click()
    expect(lab.panel.locator(".jp-Notebook .jp-Cell")).to_have_count(3)
    expect(lab.cell(1).locator(".cm-content")).to_contain_text("# train net here")
    expect(lab.prompt(1)).to_have_text("[ ]:")
    expect(lab.output(1)).to_have_count(0)
    lab.save()
    assert documents.sources(lab.server.notebooks / "next.ipynb") == [documents.PRUNE, LINE, "last = 1"]


def test_without_the_panel_there_is_no_button_that_inserts(lab: Lab) -> None:
    documents.write(lab.server.notebooks, "next.ipynb", documents.code(documents.PRUNE, mimebundle(documents.small())))
    lab.open_without_kernel("next.ipynb")
    insert = lab.output(0).get_by_role("button", name="Insert below").first
    expect(insert).to_be_visible()
    lab.page.evaluate("document.body.removeAttribute('data-hwprune-inserts')")
    expect(insert).to_be_hidden()
