"""JupyterLab without the extension: the plain HTML report, freshly run and in a notebook that nobody trusts yet."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import words

from . import documents
from .lab import Lab


def test_a_run_shows_its_line_of_progress_and_its_report(plain_lab: Lab) -> None:
    cells = documents.code(documents.SETUP), documents.code(documents.PRUNE)
    plain_lab.open(documents.write(plain_lab.server.notebooks, "run.ipynb", *cells))
    plain_lab.run(0)
    progress, report = plain_lab.run(1).all()
    expect(progress).to_contain_text("hwprune: net for")
    expect(report.get_by_text("process-CPU time of a batch of 2")).to_be_visible()
    for layer in ("0.0 Conv2d", "1.0 Conv2d", "4 Linear"):
        expect(report.locator("tr").get_by_text(layer, exact=True)).to_be_visible()


@pytest.mark.parametrize("layers", [3, 60])
def test_a_saved_notebook_reads_the_same_without_a_kernel(plain_lab: Lab, layers: int) -> None:
    report = documents.small() if layers == 3 else documents.large(layers, 64)
    documents.write(plain_lab.server.notebooks, "old.ipynb", documents.code(documents.PRUNE, mimebundle(report)))
    plain_lab.open_without_kernel("old.ipynb")
    output = plain_lab.output(0)
    expect(output.get_by_text(words.headline(report), exact=True)).to_be_visible()
    expect(output.locator("tr").get_by_text(words.name(words.by_weight(report)[0]), exact=True)).to_be_visible()
