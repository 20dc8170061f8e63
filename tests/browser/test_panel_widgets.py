"""`%hwprune panel` in Notebook 7, with cells beside its run, by name and key, and in nbconvert's page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect

from . import documents
from .lab import Lab
from .test_widget_panel import BUSY, PANEL, choose, opened
from .workers import seconds_to_end, wait_for_worker


def test_cells_run_beside_its_run_and_the_cell_run_again_shows_the_form_as_it_was_over_the_report(
    plain_lab: Lab,
) -> None:
    lab = plain_lab
    cells = (documents.SETUP, PANEL, "torch.manual_seed(1); print(torch.rand(()).item() < 1)")
    lab.open(documents.write(lab.server.notebooks, "panel.ipynb", *map(documents.code, cells)))
    form = opened(lab)
    choose(form, "onnxruntime")
    form.get_by_label("Sparsity").fill("0.6")
    form.get_by_label("Sparsity").press("Enter")
    form.get_by_role("button", name="Run").click()
    expect(form).to_contain_text("export")
    expect(lab.run(2)).to_have_text("True")
    expect(lab.cell(1).get_by_text("process-CPU time of a batch of 2")).to_be_visible()
    expect(form.get_by_role("button", name="Run")).to_be_enabled()
    lab.run(1)
    expect(form.get_by_label("Sparsity")).to_have_value("0.6")
    expect(form.get_by_label("Toolchain")).to_have_value("onnxruntime")
    expect(lab.cell(1).get_by_text("process-CPU time of a batch of 2")).to_be_visible()


def test_cancel_in_notebook_7_ends_the_worker_while_a_cell_runs(plain_lab: Lab) -> None:
    lab = plain_lab
    cells = (f"{documents.SETUP}\n{documents.HANG}", PANEL, BUSY)
    lab.open_notebook7(documents.write(lab.server.notebooks, "panel.ipynb", *map(documents.code, cells)))
    form = opened(lab)
    choose(form, "tests.fakes.faulty")
    form.get_by_role("button", name="Run").click()
    worker = wait_for_worker(lab.server.notebooks / "worker.pid")
    lab.start_cell(2)
    expect(lab.prompt(2)).to_have_text("[*]:")
    assert seconds_to_end(worker, form.get_by_role("button", name="Cancel").click) < 2
    expect(form).to_contain_text("Cancelled after")
    expect(lab.prompt(2)).to_have_text("[*]:")


def test_every_field_has_a_name_and_the_line_can_be_copied_by_keys(plain_lab: Lab) -> None:
    lab = plain_lab
    cells = (documents.SETUP, PANEL, "")
    lab.open(documents.write(lab.server.notebooks, "panel.ipynb", *map(documents.code, cells)))
    form = opened(lab)
    fields = form.locator("input, select, textarea")
    unnamed = fields.evaluate_all("fields => fields.filter(field => !field.labels?.[0]?.textContent.trim()).length")
    assert fields.count() == 18
    assert unnamed == 0
    line = form.get_by_label("Same as")
    line.focus()
    lab.page.keyboard.press("Control+A")
    lab.page.keyboard.press("Control+C")
    lab.cell(2).locator(".cm-content").click()
    lab.page.keyboard.press("Control+V")
    expect(lab.cell(2).locator(".cm-content")).to_have_text(line.input_value())


def test_nbconvert_shows_the_line_of_a_panel_that_was_never_run(plain_lab: Lab, tmp_path: Path) -> None:
    lab = plain_lab
    path = documents.write(lab.server.notebooks, "panel.ipynb", documents.code(documents.SETUP), documents.code(PANEL))
    lab.open(path)
    opened(lab)
    lab.save()
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", tmp_path, lab.server.notebooks / path],
        check=True,
        capture_output=True,
    )
    page = (tmp_path / "panel.html").read_text()
    assert "The report will appear here." in page
    assert "%hwprune net --input x -o run" in page
    assert "VBox(" not in page
