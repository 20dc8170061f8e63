"""`%hwprune panel`, for those without the extension: a run, a cancel, and what a saved notebook shows of it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from . import documents
from .lab import Lab
from .workers import seconds_to_end, wait_for_worker

PANEL = "%hwprune panel"
BUSY = "import time\nwhile True: time.sleep(0.1)"


def test_it_runs_its_line_and_leaves_the_report_as_static_output(plain_lab: Lab) -> None:
    lab = plain_lab
    cells = (documents.SETUP, PANEL, "print(type(run).__name__, run.report.request.toolchain)")
    path = documents.write(lab.server.notebooks, "panel.ipynb", *map(documents.code, cells))
    lab.open(path)
    form = opened(lab)
    choose(form, "onnxruntime")
    line = form.locator("textarea").input_value()
    assert line.startswith("%hwprune net --input x")
    assert "--toolchain onnxruntime" in line
    form.get_by_role("button", name="Run").click()
    report = lab.cell(1).get_by_text("process-CPU time of a batch of 2")
    expect(report).to_be_visible()
    expect(form.locator("textarea")).to_have_value(line)
    expect(form.get_by_role("button", name="Run")).to_be_enabled()
    expect(form).to_contain_text("Done:")
    expect(lab.run(2)).to_have_text("Run onnxruntime")
    lab.save()
    check_saved(lab, path, "process-CPU time of a batch of 2")


def test_a_notebook_saved_before_any_run_shows_no_dead_widget(plain_lab: Lab) -> None:
    path = documents.write(
        plain_lab.server.notebooks, "panel.ipynb", documents.code(documents.SETUP), documents.code(PANEL)
    )
    plain_lab.open(path)
    opened(plain_lab)
    plain_lab.save()
    check_saved(plain_lab, path, "%hwprune net --input x")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_cancel_ends_the_worker_whether_the_notebook_is(
    plain_lab: Lab, figure: Callable[[str, float], None], *, busy: bool
) -> None:
    lab = plain_lab
    cells = (f"{documents.SETUP}\n{documents.HANG}", PANEL, BUSY if busy else "1 + 1")
    lab.open(documents.write(lab.server.notebooks, "panel.ipynb", *map(documents.code, cells)))
    form = opened(lab)
    choose(form, "tests.fakes.faulty")
    form.get_by_role("button", name="Run").click()
    worker = wait_for_worker(lab.server.notebooks / "worker.pid")
    expect(form).to_contain_text("check")
    if busy:
        lab.start_cell(2)
        expect(lab.prompt(2)).to_have_text("[*]:")
    cancel = form.get_by_role("button", name="Cancel")
    expect(cancel).to_be_enabled()
    took_s = seconds_to_end(worker, cancel.click)
    figure("worker_ended_after_s", took_s)
    assert took_s < 2
    expect(form).to_contain_text(re.compile(r"Cancelled after \d+ s: the worker has ended, and nothing was changed\."))
    if busy:
        expect(lab.prompt(2)).to_have_text("[*]:")


def opened(lab: Lab) -> Locator:
    """Run the first cell, then the panel's, and return its form."""
    lab.run(0)
    lab.run(1)
    form = lab.cell(1).locator(".hwprune-panel")
    expect(form.get_by_role("button", name="Run")).to_be_enabled()
    return form


def choose(form: Locator, toolchain: str) -> None:
    form.get_by_label("Toolchain").fill(toolchain)
    form.get_by_label("Toolchain").press("Enter")
    expect(form.locator("textarea")).to_have_value(re.compile(f"--toolchain {re.escape(toolchain)}"))


def check_saved(lab: Lab, path: str, said: str) -> None:
    """Open the notebook again in a page and a server that know no kernel of it."""
    lab.page.goto("about:blank")
    lab.server.end_kernels()
    lab.open_without_kernel(path)
    expect(lab.cell(1).locator(".jp-OutputArea")).to_contain_text(said)
    expect(lab.panel.get_by_text("Error displaying widget")).to_have_count(0)
    expect(lab.panel.locator(".jupyter-widgets")).to_have_count(0)
