"""A report's fallback where others show it: nbconvert, GitHub, VS Code, and a JupyterLab that does not trust it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import MIME_TYPE, Report, words
from tests.sanitised import as_on_github

from . import documents
from .lab import Lab
from .looks import faint_texts
from .server import ROOT

# `notebooks/run.py`, but into another folder than the one that other tests and people look into
RUN = "import pathlib, run, sys; run.BUILD = pathlib.Path(sys.argv[1]); run.main('00_quickstart')"
# as VS Code's dark theme gives its colours to an output
EDITOR = "<style>body { background: #1f1f1f; color: #cccccc; font: 13px sans-serif }</style>"


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the quickstart; return the folder of the executed notebook and of nbconvert's page of it."""
    folder = tmp_path_factory.mktemp("tutorial")
    subprocess.run(
        [sys.executable, "-c", RUN, folder], cwd=ROOT / "notebooks", env=None, capture_output=True, check=True
    )
    return folder


@pytest.fixture
def scriptless(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1000, "height": 1000})
    yield context.new_page()
    context.close()


def test_the_page_of_an_executed_tutorial_shows_every_result_without_a_script(tutorial: Path, scriptless: Page) -> None:
    scriptless.goto(f"file://{tutorial}/00_quickstart.html")
    results = list(documents.outputs(tutorial / "00_quickstart.ipynb"))
    reports = [Report.from_json(json.dumps(data[MIME_TYPE])) for data in results if MIME_TYPE in data]
    assert len(reports) == 2
    assert not [data for data in results if "<script" in "".join(data.get("text/html", ""))]
    for report in reports:
        expect(scriptless.get_by_text(words.headline(report), exact=True)).to_be_visible()
        for reason in report.reasons:
            expect(scriptless.get_by_text(reason).first).to_be_visible()
    pictures = scriptless.get_by_role("img", name="Density tiles")
    expect(pictures).to_have_count(len(reports))
    for picture in pictures.all():
        assert picture.evaluate("image => image.naturalWidth") > 300
    for said in ("0.99", "'pruned, then trained': ", "versions: onnxruntime"):  # a score, a dict, the doctor's table
        expect(scriptless.get_by_text(said).first).to_be_visible()


def test_a_report_is_whole_where_styles_and_pictures_are_gone(scriptless: Page) -> None:
    report = documents.small()
    scriptless.set_content(as_on_github(mimebundle(report)["text/html"]))
    expect(scriptless.get_by_text(words.headline(report), exact=True)).to_be_visible()
    for fact in words.facts(report):
        expect(scriptless.get_by_role("row", name=f"{fact.name} {fact.said}", exact=True)).to_be_visible()
    expect(scriptless.get_by_role("img", name="Density tiles")).to_be_visible()
    letters = scriptless.locator("pre", has_text="% kept, valid")
    expect(letters).to_be_hidden()
    scriptless.get_by_text("the masks in letters").click()
    expect(letters).to_be_visible()
    for layer in report.layers:
        expect(letters).to_contain_text(f"{words.name(layer)}, {layer.shape[0]} x ")


def test_a_dark_editor_colours_the_report_and_its_picture_keeps_white_paper(scriptless: Page) -> None:
    report = documents.small()
    scriptless.set_content(EDITOR + mimebundle(report)["text/html"])
    assert colour(scriptless, "td") == "rgb(204, 204, 204)"
    assert colour(scriptless, "p > b[style]") == "rgb(255, 255, 255)"  # the verdict, on a colour of its own
    assert not faint_texts(scriptless.locator("body"))
    assert scriptless.locator("img").evaluate("image => image.naturalWidth") > 300


def test_a_jupyterlab_that_does_not_trust_the_notebook_keeps_styles_and_pictures(plain_lab: Lab) -> None:
    report = documents.small()
    bundle = mimebundle(report)
    documents.write(plain_lab.server.notebooks, "foreign.ipynb", documents.code(documents.PRUNE, bundle))
    plain_lab.open_without_kernel("foreign.ipynb")
    output = plain_lab.output(0)
    verdict = output.get_by_text(words.headline(report), exact=True)
    expect(verdict).to_be_visible()
    assert verdict.evaluate("mark => getComputedStyle(mark).backgroundColor") not in {"", "rgba(0, 0, 0, 0)"}
    picture = output.get_by_role("img", name="Density tiles")
    assert picture.evaluate("image => image.naturalWidth") > 300
    assert output.locator("table").nth(1).evaluate("table => getComputedStyle(table).whiteSpace") == "nowrap"
    said = unescape(output.inner_text())
    assert all(reason in said for reason in report.reasons)
    bars = output.locator("td div").first
    assert bars.evaluate("bar => getComputedStyle(bar).fontSize") == "8px"


def colour(page: Page, where: str) -> Any:
    return page.locator(where).first.evaluate("element => getComputedStyle(element).color")
