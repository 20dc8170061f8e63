"""A report that has just come: the verdict is what one sees, and its table has room for all that it holds."""

from __future__ import annotations

import dataclasses

import pytest
from playwright.sync_api import expect

from jupyter_hwprune.notebook.progress import MIME_TYPE as PROGRESS
from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import Report

from . import documents
from .lab import Lab
from .looks import faint_texts, violations

STEP = {"version": 1, "elapsed_s": 1, "phase": "check", "detail": "x", "summary": None}
RUN = f"""import time
from jupyter_hwprune import Report
from jupyter_hwprune.render import mimebundle
report = Report.load("here.hwprune.json")
shown = display({{"{PROGRESS}": {STEP | {"state": "running"}}}}, raw=True, display_id=True)
time.sleep(1)
shown.update({{"{PROGRESS}": {STEP | {"state": "done", "summary": "net for a chip"}}}}, raw=True)
display(mimebundle(report), raw=True)"""
WIDTHS = (900, 1360, 1920)
TOLD = {
    "macs": "MACs 128 → 64",
    "weight": "weight 8x16",
    "removed": "removed 30 %",
    "pattern": "pattern 2:4",
    "kernel": "kernel MlasConvNchw → sparse_gemm_2_4_avx512",
}


def kernelled() -> Report:
    """Return a report in which one layer went from a dense to a sparse kernel."""
    report = documents.varied()
    first = dataclasses.replace(report.layers[0], kernel="MlasConvNchw", pruned_kernel="sparse_gemm_2_4_avx512")
    return dataclasses.replace(report, layers=(first, *report.layers[1:]))


@pytest.mark.parametrize("below", [0, 3])
def test_the_verdict_is_in_sight_after_shift_enter_and_progress_has_left(lab: Lab, below: int) -> None:
    documents.varied().save(lab.server.notebooks / "here.hwprune.json")
    filler = documents.code("\n".join(f"x{i} = {i}" for i in range(8)))
    cells = [filler] * 3 + [documents.code(RUN)] + [filler] * below
    lab.page.set_viewport_size({"width": 1360, "height": 700})
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.cell(3).locator(".cm-content").click()
    lab.page.keyboard.press("Shift+Enter")
    report = lab.output(3).locator(".hwprune-report")
    expect(report.locator(".hwprune-badge")).to_be_in_viewport(ratio=1)
    lab.wait_for_end(3)
    for part in (report.locator("h3"), report.locator(".hwprune-badge"), report.locator(".hwprune-score")):
        expect(part).to_be_in_viewport(ratio=1)
    said = lab.output(3).locator(".hwprune-status")
    expect(said).to_have_text("hwprune: net for a chip (1 s)")  # it is still read out
    assert lab.output(3).first.evaluate("output => output.parentElement.getBoundingClientRect().height") <= 1


def test_what_a_row_has_no_room_for_stands_below_it_and_the_kernels_stay(lab: Lab) -> None:
    documents.write(lab.server.notebooks, "old.ipynb", documents.code(documents.PRUNE, mimebundle(kernelled())))
    lab.open_without_kernel("old.ipynb")
    shown = lab.output(0).locator(".hwprune-report")
    row = shown.locator(".hwprune-layer").filter(has_text="MlasConvNchw")
    for width in WIDTHS:
        lab.page.set_viewport_size({"width": width, "height": 900})
        for key, said in TOLD.items():
            inside = row.locator(f"[data-column={key}]")
            below = row.locator("+ .hwprune-rest").locator(f"[data-rest={key}]")
            expect(below).to_have_text(said)
            expect(inside.or_(below).filter(visible=True)).to_have_count(1)
        table = shown.locator(".hwprune-layers").locator("..")
        assert table.evaluate("place => place.scrollWidth <= place.clientWidth"), width
        if width > WIDTHS[0]:
            expect(row.locator("[data-column=kernel]")).to_be_visible()
    expect(shown.locator(".hwprune-rest").filter(visible=True)).to_have_count(0)  # at the last width


# pairs of blocks that lie on each other, and blocks outside the picture
MISPLACED = """place => {
    const blocks = [...place.querySelectorAll('.hwprune-block')].map(each => each.getBoundingClientRect());
    const lap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    const edge = place.getBoundingClientRect();
    const out = a => a.right > edge.right + 0.5 || a.bottom > edge.bottom + 0.5;
    return blocks.filter((a, i) => out(a) || blocks.slice(i + 1).some(b => lap(a, b))).length;
}"""


def test_a_network_of_300_layers_is_drawn_by_time_and_a_block_opens_its_layer(lab: Lab) -> None:
    report = documents.large(300, 16)
    timed = [dataclasses.replace(each, dense_us=float(1 + i)) for i, each in enumerate(report.layers)]
    report = dataclasses.replace(report, layers=tuple(timed))
    report.save(lab.server.notebooks / "large.hwprune.json")
    lab.start()
    lab.file("large.hwprune.json").dblclick()
    shown = lab.page.locator(".jp-MimeDocument .hwprune-report")
    network = shown.locator(".hwprune-network")
    blocks = network.get_by_role("button")
    for width in WIDTHS:
        lab.page.set_viewport_size({"width": width, "height": 900})
        expect(blocks).to_have_count(301)  # with all other kernels
        fits = "place => [...place.children].every(each => each.offsetLeft + each.offsetWidth <= place.clientWidth)"
        lab.page.wait_for_function(fits, arg=network.element_handle())
        assert network.evaluate(MISPLACED) == 0, width
    blocks.first.focus()
    lab.page.keyboard.press("End")
    expect(shown.locator(".hwprune-told")).to_contain_text("model.layers.0.mlp.up_proj: 1.00 µs when dense")
    lab.page.keyboard.press("Enter")
    name = shown.get_by_role("button", name="model.layers.0.mlp.up_proj", expanded=True)
    expect(name).to_be_in_viewport()
    expect(name).to_be_focused()
    assert faint_texts(shown) == []
    assert violations(shown) == []
