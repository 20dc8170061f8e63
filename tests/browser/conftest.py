"""One JupyterLab and one chromium for all tests of a worker, a fresh page for each test.

What a page complains of fails its test. What a failure looked like stays in build/browser.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .lab import Lab
from .server import ROOT, Server, require_extension
from .watch import Watch

EVIDENCE = ROOT / "build" / "browser"
PATIENCE_MS = 60_000  # the machine may be busy with other tests
FLAGS = (
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_extension()
    running = Server(tmp_path_factory.mktemp("lab"), with_extension=True)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A JupyterLab in which the extension is not installed."""
    running = Server(tmp_path_factory.mktemp("plain"), with_extension=False)
    yield running
    running.stop()


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, ended with the last test of this folder: as long as it runs, no other test can have an event loop."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail("The browser tests need chromium, and there is none: make chromium", pytrace=False)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=executable, args=FLAGS, env={**os.environ, "HOME": str(tmp_path_factory.mktemp("chromium"))}
        )


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def page(browser: Browser, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    watch.over(page)
    yield page
    context.close()
    assert not watch.complaints()


@pytest.fixture
def lab(page: Page, server: Server) -> Iterator[Lab]:
    yield Lab(page, server)
    page.goto("about:blank")  # which talks to no kernel that ends now
    server.forget()


@pytest.fixture
def plain_lab(page: Page, plain_server: Server) -> Iterator[Lab]:
    yield Lab(page, plain_server)
    page.goto("about:blank")
    plain_server.forget()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Keep a measured number in build/browser/figures.json, under the test's own name."""

    def keep(name: str, value: float) -> None:
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        path = EVIDENCE / "figures.json"
        with FileLock(f"{path}.lock"):
            figures: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
            figures.setdefault(request.node.name, {})[name] = round(value, 4)
            path.write_text(json.dumps(figures, indent=1, sort_keys=True))

    return keep


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what the page looked like and what it said, of a test that failed or whose page complained."""
    report = yield
    found = getattr(item, "funcargs", {})
    if report.failed and "watch" in found:
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        stem = EVIDENCE / re.sub(r"\W+", "-", item.name)
        Path(f"{stem}.log").write_text("\n".join(found["watch"].said))
        if report.when == "call":
            found["page"].screenshot(path=f"{stem}.png")
    return report
