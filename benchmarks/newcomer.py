"""A newcomer's way through JupyterLab, in clicks, typed characters and seconds: `python -m benchmarks.newcomer`.

A chromium walks it in a real JupyterLab with the built extension: from the launcher to the first verdict of the
quickstart, from that verdict to the one of the next line, and from two runs to their comparison. The second step is
walked twice in turn: with the report's own button, and by hand, with the line typed into a new cell, as it had to be
before reports offered their next lines. Seconds are those of this machine and hold the training and the measuring.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from playwright.sync_api import Locator, expect, sync_playwright

from benchmarks.masks import cpu_name
from tests.browser.conftest import FLAGS, PATIENCE_MS
from tests.browser.lab import Lab
from tests.browser.server import Server, require_extension

RESULTS = Path(__file__).parent / "results" / "newcomer.json"
RUN_MS = 600_000  # the whole quickstart, on a busy machine
WINDOW = (1360, 860)
FIRST_REPORT = 6  # the quickstart's cell with its first line


@dataclass
class Way:
    """What a hand did, and how long it took from the first click to what was looked for."""

    path: str
    how: str
    clicks: int = 0
    typed: int = 0  # characters, a key chord as one
    seconds: float = 0
    _start: float = field(default=0, repr=False)

    def click(self, place: Locator) -> None:
        expect(place).to_be_enabled(timeout=RUN_MS)
        self._begin()
        self.clicks += 1
        place.click()

    def press(self, lab: Lab, *keys: str) -> None:
        self._begin()
        self.typed += len(keys)
        for key in keys:
            lab.page.keyboard.press(key)

    def write(self, lab: Lab, text: str) -> None:
        self._begin()
        self.typed += len(text)
        lab.page.keyboard.insert_text(text)

    def arrives(self, at: Locator) -> Way:
        expect(at).to_be_visible(timeout=RUN_MS)
        self.seconds = time.monotonic() - self._start
        return self

    def _begin(self) -> None:
        self._start = self._start or time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    require_extension()
    expect.set_options(timeout=PATIENCE_MS)
    walked: list[Way] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            server = Server(Path(folder) / "lab", with_extension=True)
            try:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]}, reduced_motion="reduce")
                page.set_default_timeout(PATIENCE_MS)
                walked += walk(Lab(page, server))
                browser.close()
            finally:
                server.stop()
    where = f"{cpu_name()}; jupyterlab {version('jupyterlab')}"
    options.out.write_text(json.dumps({"where": where, "ways": [_told(each) for each in walked]}, indent=1) + "\n")
    text = table(walked, where)
    options.out.with_suffix(".md").write_text(text)
    print(text)


def walk(lab: Lab) -> list[Way]:
    """Walk all paths once, in one JupyterLab that has just been opened."""
    page = lab.page
    lab.start()
    first = Way("launcher to the first verdict", "card, Open, Run All Cells")
    first.click(page.locator(".jp-LauncherCard", has_text="Pruning Tutorials"))
    first.click(page.get_by_role("dialog").get_by_role("button", name="Open"))
    lab.wait_for_kernel()
    first.click(page.get_by_role("menuitem", name="Run", exact=True))
    first.click(page.get_by_role("menuitem", name="Run All Cells", exact=True))
    report = lab.output(FIRST_REPORT).locator(".hwprune-report")
    first.arrives(report.locator(".hwprune-badge"))
    last = lab.panel.locator(".jp-CodeCell").last
    expect(last.locator(".jp-InputPrompt")).to_have_text("[6]:", timeout=RUN_MS)
    return [first, _by_button(lab, report), _by_hand(lab, report), _to_comparison(lab)]


def _by_button(lab: Lab, report: Locator) -> Way:
    way = Way("verdict to the next verdict", "Insert below, Shift+Enter")
    report.scroll_into_view_if_needed()
    way.click(report.get_by_role("button", name="Insert below").first)
    cell = lab.cell(FIRST_REPORT + 1)
    expect(cell.locator(".cm-content")).to_contain_text("hwprune")
    way.press(lab, "Shift+Enter")
    return way.arrives(cell.locator(".hwprune-badge"))


def _by_hand(lab: Lab, report: Locator) -> Way:
    """Type the line that the report offers, which a newcomer would have to know."""
    lines = report.locator(".hwprune-next code, .hwprune-next pre")
    line = lines.first.inner_text()
    way = Way("verdict to the next verdict", "typed into a new cell")
    lab.cell(FIRST_REPORT).locator(".jp-InputPrompt").scroll_into_view_if_needed()
    way.click(lab.cell(FIRST_REPORT).locator(".jp-InputPrompt"))
    way.press(lab, "b", "Enter")
    way.write(lab, line)
    way.press(lab, "Shift+Enter")
    return way.arrives(lab.cell(FIRST_REPORT + 1).locator(".hwprune-badge"))


def _to_comparison(lab: Lab) -> Way:
    way = Way("two runs to their comparison", "panel, Compare")
    way.click(lab.panel.locator('[data-command="hwprune:open-panel"]'))
    way.click(lab.page.get_by_test_id("compare"))
    return way.arrives(lab.page.get_by_test_id("comparison"))


def _told(way: Way) -> dict[str, object]:
    return {name: value for name, value in asdict(way).items() if name != "_start"}


def table(walked: list[Way], where: str) -> str:
    """Return a Markdown table with the range of the seconds over all rounds."""
    rows: dict[tuple[str, str], list[Way]] = {}
    for way in walked:
        rows.setdefault((way.path, way.how), []).append(way)
    lines = [f"{where}", "", "| path | how | clicks | characters typed | seconds |", "|---|---|---|---|---|"]
    for (path, how), ways in rows.items():
        seconds = sorted(way.seconds for way in ways)
        spread = f"{seconds[0]:.1f} to {seconds[-1]:.1f}"
        lines.append(f"| {path} | {how} | {ways[0].clicks} | {ways[0].typed} | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
