"""A newcomer's way through JupyterLab, in clicks, keys and seconds: `python -m benchmarks.newcomer [--quick]`.

A chromium walks it in a real JupyterLab with the built extension: from the launcher through the quickstart's first
cells to the first verdict, from that verdict to the one of another line, and from two runs to their comparison. A step
ends when what was looked for is in sight, for which the wheel is turned where it is not. The second step is walked with
the report's own button, and with a line typed by hand into a new cell. Seconds are those of this machine and hold the
training and the measuring.

`before` is a version without next steps, landing and tab of comparison. Such a version is walked by this file in its
own tree: `python -m benchmarks.newcomer --version before --out RESULTS`. What other versions a file of results holds is
kept.
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
from typing import Any

from playwright.sync_api import Locator, expect, sync_playwright

from benchmarks.masks import cpu_name
from tests.browser.conftest import FLAGS, PATIENCE_MS
from tests.browser.lab import Lab
from tests.browser.server import Server, require_extension

RESULTS = Path(__file__).parent / "results" / "newcomer.json"
RUN_MS = 600_000  # the whole quickstart, on a busy machine
WINDOW = (1360, 860)
FIRST_REPORT = 6  # the quickstart's cell with its first line
BY_HAND = "%hwprune model --input example --target cpu --sparsity 0.25 --eval accuracy"
NOTCH = 120  # pixels, of a wheel
SETTLED_MS = 500  # a page that scrolls by itself has done so


@dataclass
class Way:
    """What a hand did, and how long it took from its first act to what was looked for."""

    path: str
    how: str
    clicks: int = 0
    keys: int = 0  # a chord as one
    wheel: int = 0  # notches
    seconds: float = 0
    _start: float = field(default=0, repr=False)

    def click(self, place: Locator) -> None:
        expect(place).to_be_enabled(timeout=RUN_MS)
        self._begin()
        self.clicks += 1
        place.click()

    def press(self, lab: Lab, *keys: str) -> None:
        self._begin()
        self.keys += len(keys)
        for key in keys:
            lab.page.keyboard.press(key)

    def write(self, lab: Lab, text: str) -> None:
        self._begin()
        self.keys += len(text)
        lab.page.keyboard.insert_text(text)

    def arrives(self, sought: Locator) -> Way:
        """Wait until it is on the page, and turn the wheel until it is in sight."""
        expect(sought).to_be_visible(timeout=RUN_MS)
        self.seconds = time.monotonic() - self._start
        sought.page.wait_for_timeout(SETTLED_MS)
        while (turn := sought.evaluate(OUT_OF_SIGHT)) != 0:
            sought.page.mouse.move(turn["x"], turn["y"])
            sought.page.mouse.wheel(0, turn["way"] * NOTCH)
            sought.page.wait_for_timeout(SETTLED_MS)
            self.wheel += 1
        return self

    def _begin(self) -> None:
        self._start = self._start or time.monotonic()


# 0, or which way to turn the wheel, and over what: the part around it that scrolls and hides its top
OUT_OF_SIGHT = """sought => {
    const top = sought.getBoundingClientRect().top;
    for (let outer = sought.parentElement; outer !== null; outer = outer.parentElement) {
        if (!['auto', 'scroll'].includes(getComputedStyle(outer).overflowY)) continue;
        const edge = outer.getBoundingClientRect();
        const way = top < edge.top ? -1 : top + 20 > edge.bottom ? 1 : 0;
        if (way !== 0) return { way, x: edge.left + edge.width / 2, y: edge.top + edge.height / 2 };
    }
    return 0;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of three")
    parser.add_argument("--version", default="now", help="what the walked version is called in the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    require_extension()
    expect.set_options(timeout=PATIENCE_MS)
    walked: list[Way] = []
    for _ in range(1 if options.quick else 3):
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
    versions = json.loads(options.out.read_text())["versions"] if options.out.exists() else {}
    versions[options.version] = {"where": where, "ways": [_told(each) for each in walked]}
    options.out.write_text(json.dumps({"versions": dict(sorted(versions.items()))}, indent=1) + "\n")
    text = table(versions)
    options.out.with_suffix(".md").write_text(text)
    print(text)


def walk(lab: Lab) -> list[Way]:
    """Walk all paths once, in one JupyterLab that has just been opened."""
    lab.start()
    first = Way("launcher to the first verdict", "card, Open, Shift+Enter on each cell")
    first.click(lab.page.locator(".jp-LauncherCard", has_text="Pruning Tutorials"))
    first.click(lab.page.get_by_role("dialog").get_by_role("button", name="Open"))
    lab.wait_for_kernel()
    first.press(lab, *["Shift+Enter"] * (FIRST_REPORT + 1))
    report = lab.output(FIRST_REPORT).locator(".hwprune-report")
    ways = [first.arrives(report.locator(".hwprune-badge"))]
    if report.get_by_role("button", name="Insert below").count() > 0:
        ways.append(_by_button(lab, report))
    return [*ways, _by_hand(lab), _to_comparison(lab)]


def _by_button(lab: Lab, report: Locator) -> Way:
    way = Way("verdict to the next verdict", "Insert below, Shift+Enter")
    way.click(report.get_by_role("button", name="Insert below").first)
    cell = lab.cell(FIRST_REPORT + 1)
    expect(cell.locator(".cm-content")).to_contain_text("hwprune")
    way.press(lab, "Shift+Enter")
    return way.arrives(cell.locator(".hwprune-badge"))


def _by_hand(lab: Lab) -> Way:
    """Write a line as one has to who knows the options."""
    way = Way("verdict to the next verdict", "a line typed into a new cell")
    way.click(lab.prompt(FIRST_REPORT))
    way.press(lab, "b", "Enter")
    way.write(lab, BY_HAND)
    way.press(lab, "Shift+Enter")
    return way.arrives(lab.cell(FIRST_REPORT + 1).locator(".hwprune-badge"))


def _to_comparison(lab: Lab) -> Way:
    way = Way("two runs to their comparison", "panel, Compare")
    way.click(lab.panel.locator('[data-command="hwprune:open-panel"]'))
    compare = lab.page.get_by_test_id("compare")
    expect(compare).to_be_visible()
    if compare.is_disabled():  # it takes what is chosen
        way.how = "panel, both runs, Compare"
        for box in lab.page.get_by_test_id("run").get_by_role("checkbox").all()[:2]:
            way.click(box)
    way.click(compare)
    return way.arrives(lab.page.get_by_test_id("comparison"))


def _told(way: Way) -> dict[str, object]:
    return {name: value for name, value in asdict(way).items() if name != "_start"}


def table(versions: dict[str, Any]) -> str:
    """Return a Markdown table with the range of the seconds over all rounds."""
    wheres = {each["where"] for each in versions.values()}
    head = "| path | version | how | clicks | keys | wheel | seconds |"
    lines = [*sorted(wheres), "", head, "|---|---|---|---|---|---|---|"]
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for name, each in versions.items():
        for way in each["ways"]:
            rows.setdefault((way["path"], name, way["how"]), []).append(way)
    paths = list(dict.fromkeys(path for path, _, _ in rows))
    for (path, name, how), ways in sorted(rows.items(), key=lambda row: (paths.index(row[0][0]), row[0][1])):
        seconds, wheel = ([way[key] for way in ways] for key in ("seconds", "wheel"))
        turned = f"{min(wheel)}" if min(wheel) == max(wheel) else f"{min(wheel)} to {max(wheel)}"
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        lines.append(f"| {path} | {name} | {how} | {ways[0]['clicks']} | {ways[0]['keys']} | {turned} | {spread} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
