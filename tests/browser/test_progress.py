"""A run while it goes on: seen to move, asked meanwhile, and cancelled."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from . import documents
from .lab import Lab
from .workers import seconds_to_end, wait_for_worker, wait_until

PHASES = ("find", "prune", "export", "compile", "load", "check", "profile", "measure", "peak")
# each change of the phase, together with the prompt of the cell that runs, and each place that Cancel's corner has
RECORD = """() => {
    const cornerOf = element => element && ['top', 'right'].map(edge => element.getBoundingClientRect()[edge]).join();
    window.seen = { cell: [], panel: [], cancel: [] };
    new MutationObserver(() => {
        const prompt = document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')[1].textContent;
        const told = {
            cell: document.querySelector('.hwprune-phases [data-state=now]')?.textContent,
            panel: document.querySelector('[data-testid=progress-card]')?.dataset.phase,
            cancel: cornerOf(document.querySelector('[data-testid=cancel]')),
        };
        for (const [where, word] of Object.entries(told)) {
            if (prompt === '[*]:' && word && window.seen[where].at(-1) !== word) window.seen[where].push(word);
        }
    }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


def test_a_runs_phases_are_seen_to_pass_in_the_cell_and_in_the_side_panel(lab: Lab) -> None:
    cells = documents.code(documents.SETUP), documents.code(documents.PRUNE)
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    side = lab.open_side_panel()
    lab.run(0)
    lab.page.evaluate(RECORD)
    lab.run(1)
    seen = lab.page.evaluate("window.seen")
    for where in ("cell", "panel"):
        assert len(seen[where]) >= 2, seen
        assert seen[where] == [phase for phase in PHASES if phase in seen[where]], seen
    expect(lab.output(1).get_by_role("status")).to_have_text(re.compile(r"^hwprune: net for .* \(\d+ s\)$"))
    expect(side.get_by_test_id("progress-card")).to_have_attribute("data-state", "done")


@pytest.fixture
def hanging(lab: Lab) -> Path:
    """A notebook whose second cell hangs in its worker, the side panel beside it; return that worker."""
    documents.write(
        lab.server.notebooks,
        "run.ipynb",
        documents.code(f"{documents.SETUP}\n{documents.HANG}\n{LATER}"),
        documents.code(documents.PRUNE_AND_HANG),
        documents.code("print('the kernel', 'answers')"),
    )
    lab.open("run.ipynb")
    lab.run(0)
    lab.open_side_panel()
    expect(lab.page.get_by_test_id("model-net")).to_be_visible()
    lab.page.evaluate(RECORD)
    lab.start_cell(1)
    return wait_for_worker(lab.server.notebooks / "worker.pid")


# what makes another model while a cell runs
LATER = """import pathlib, threading, time
def make_another():
    global another
    while not pathlib.Path("wanted").exists():
        time.sleep(0.02)
    another = cnn()
    pathlib.Path("made").touch()
threading.Thread(target=make_another, daemon=True).start()"""


def test_cancel_in_the_side_panel_ends_the_worker_and_leaves_the_kernel_at_work(
    lab: Lab, hanging: Path, figure: Callable[[str, float], None]
) -> None:
    cancel = lab.page.get_by_test_id("cancel")
    expect(cancel).to_be_enabled()
    took_s = seconds_to_end(hanging, cancel.click)
    figure("worker_ended_after_s", took_s)
    assert took_s < 2
    lab.wait_for_end(1)
    expect(lab.output(1).get_by_role("status")).to_have_text(
        re.compile(r"^hwprune: interrupted in phase check after \d+ s$")
    )
    expect(lab.output(1).get_by_role("list")).to_be_hidden()
    expect(lab.output(1).last).to_have_text("KeyboardInterrupt: stopped; the worker has ended and nothing was changed.")
    expect(lab.page.get_by_test_id("progress-card")).to_have_attribute("data-state", "stopped")
    places = lab.page.evaluate("window.seen.cancel")
    assert len(places) == 1, places  # a button that moves under a press loses the click
    expect(lab.run(2)).to_have_text("the kernel answers")


def test_the_side_panel_is_answered_while_a_cell_runs(
    lab: Lab, hanging: Path, figure: Callable[[str, float], None]
) -> None:
    (lab.server.notebooks / "wanted").touch()
    wait_until((lab.server.notebooks / "made").exists, "no model was made")
    took_ms = lab.page.evaluate(
        """() => new Promise(resolve => {
            const start = performance.now();
            new MutationObserver((_, observer) => {
                if (document.querySelector('[data-testid=model-another]')) {
                    observer.disconnect();
                    resolve(performance.now() - start);
                }
            }).observe(document.body, { subtree: true, childList: true });
            document.querySelector('[data-testid=refresh]').click();
        })"""
    )
    figure("answered_while_busy_after_ms", took_ms)
    assert hanging.exists()
    expect(lab.prompt(1)).to_have_text("[*]:")
    expect(lab.page.get_by_test_id("model-another")).to_contain_text("Sequential")
    expect(lab.page.get_by_test_id("hindrance")).to_be_empty()


def test_a_kernel_that_is_restarted_in_mid_run_takes_the_worker_along_and_answers_again(
    lab: Lab, hanging: Path
) -> None:
    expect(lab.page.get_by_test_id("progress-card")).to_have_attribute("data-phase", "check")
    took_s = seconds_to_end(hanging, lambda: lab.page.evaluate(RESTART))
    assert took_s < 10  # the kernel has its own time to end
    expect(lab.page.get_by_test_id("progress-card")).to_have_attribute("data-state", "lost")
    expect(lab.page.get_by_test_id("progress-said")).to_have_text("the kernel ended in phase check")
    expect(lab.page.get_by_test_id("cancel")).to_have_count(0)
    expect(lab.page.get_by_test_id("model-net")).to_have_count(0)  # it is gone
    expect(lab.page.get_by_test_id("hindrance")).to_be_empty()
    expect(lab.run(2)).to_have_text("the kernel answers")


RESTART = "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
