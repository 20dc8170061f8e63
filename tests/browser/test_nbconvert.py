"""nbconvert's page, where no script runs and nothing comes from the network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from jupyter_hwprune.render import mimebundle
from jupyter_hwprune.report import words

from . import documents


@pytest.fixture
def scriptless(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1400, "height": 1000})
    fetched: list[str] = []

    def local_only(route: Route) -> None:
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            fetched.append(route.request.url)
            route.abort()

    context.route("**/*", local_only)
    yield context.new_page()
    context.close()
    assert not fetched


def test_the_page_shows_all_results_without_a_script(scriptless: Page, tmp_path: Path) -> None:
    report = documents.small()
    documents.write(tmp_path, "run.ipynb", documents.code(documents.PRUNE, mimebundle(report)))
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "run.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    scriptless.goto(f"file://{tmp_path}/run.html")
    expect(scriptless.get_by_text(words.headline(report), exact=True)).to_be_visible()
    for layer in report.layers:
        expect(scriptless.locator("tr").get_by_text(words.name(layer), exact=True)).to_be_visible()
    for fact in words.facts(report):
        expect(scriptless.get_by_role("row", name=f"{fact.name} {fact.said}", exact=True)).to_be_visible()
    picture = scriptless.get_by_role("img", name="Density tiles")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 300
