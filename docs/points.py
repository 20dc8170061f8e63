# ruff: noqa: INP001  (a script, no package)
"""Photograph what a person meets in JupyterLab, point by point, on the quickstart that has run: docs/points/NAME.png.

`python docs/screenshots.py` makes the pictures of this version. Those of an earlier one are made in that version's
tree, by this file: `python docs/points.py before FOLDER`. What that version does not have is left out.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error, Locator, Page, ViewportSize, expect, sync_playwright

DOCS = Path(__file__).parent
sys.path.insert(0, str(Path.cwd()))  # the tree whose version is photographed

from tests.browser import conftest  # noqa: E402
from tests.browser.lab import Lab  # noqa: E402
from tests.browser.server import Server, require_extension  # noqa: E402

NOTEBOOK = "00_quickstart.ipynb"
WIDE, NARROW = ViewportSize(width=1360, height=860), ViewportSize(width=900, height=860)
RUN_MS = 600_000  # the whole quickstart, on a busy machine
STILL_MS = 1500
COLOURS = 64
Keep = Callable[[str, bytes], None]


def main(version: str, folder: Path) -> None:
    with quickstart(Path.cwd()) as lab:
        lab.command("application:toggle-left-area")
        photograph(lab, version, folder)


@contextlib.contextmanager
def quickstart(tree: Path) -> Iterator[Lab]:
    """Run a tree's quickstart in JupyterLab with the built extension, and show it in chromium."""
    require_extension()
    expect.set_options(timeout=conftest.PATIENCE_MS)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = Server(Path(home) / "lab", with_extension=True)
        try:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=conftest.FLAGS)
            shutil.copy(tree / "notebooks" / NOTEBOOK, server.notebooks)
            page = browser.new_page(viewport=WIDE, reduced_motion="reduce")
            page.set_default_timeout(conftest.PATIENCE_MS)
            lab = Lab(page, server)
            lab.open(NOTEBOOK)
            lab.command("notebook:run-all-cells")
            last = lab.panel.locator(".jp-CodeCell").last
            expect(last.locator(".jp-InputPrompt")).to_have_text("[6]:", timeout=RUN_MS)
            yield lab
            browser.close()
        finally:
            server.stop()


def photograph(lab: Lab, version: str, folder: Path) -> None:
    """Photograph every point in a notebook that has run, with no side area open."""
    folder.mkdir(exist_ok=True)
    for point in (verdict, layers, network, progress, complete, misspelt, targets, widgets, side_panel, comparison):
        try:
            lab.page.set_viewport_size(WIDE)
            picture = point(lab)
        except (AssertionError, Error) as error:  # an earlier version has no such part, or not there
            if version == "now":
                raise
            print(f"{point.__name__}: not in this version: {str(error).splitlines()[0]}")
            continue
        path = folder / f"{point.__name__.replace('_', '-')}-{version}.png"
        path.write_bytes(picture)
        drawn = Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        drawn.save(path, format="png", optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def verdict(lab: Lab) -> bytes:
    """Photograph what Shift+Enter leaves in sight."""
    lab.cell(6).locator(".cm-content").click()
    before = lab.prompt(6).inner_text()
    lab.page.keyboard.press("Shift+Enter")
    lab.wait_for_end(6, before)
    return still(lab.page).screenshot()


def layers(lab: Lab) -> bytes:
    """Photograph the table of layers in a narrow window."""
    lab.page.set_viewport_size(NARROW)
    table = lab.output(10).locator(".hwprune-layers").first
    table.scroll_into_view_if_needed()
    still(lab.page)
    return table.locator("..").screenshot()


def network(lab: Lab) -> bytes:
    part = lab.output(6).locator(".hwprune-networkPart")
    expect(part).to_be_visible(timeout=5000)
    part.scroll_into_view_if_needed()
    still(lab.page)
    return part.screenshot()


def progress(lab: Lab) -> bytes:
    """Photograph a run on its way."""
    lab.start_cell(10)
    bar = lab.output(10).locator(".hwprune-phases").first
    expect(bar).to_be_visible()
    lab.page.wait_for_timeout(2 * STILL_MS)
    picture = lab.cell(10).screenshot()
    expect(lab.prompt(10)).not_to_have_text("[*]:", timeout=RUN_MS)
    return picture


def complete(lab: Lab) -> bytes:
    cell = written(lab, "%hwprune model --target ")
    for _ in range(3):  # JupyterLab waits a second for the kernel, which may be busy
        lab.page.keyboard.press("Tab")
        expect(lab.page.locator(".jp-Completer")).to_be_visible()
        still(lab.page)
        if lab.page.locator(".jp-Completer-typeExtended", has_text="target").count() > 0:
            break
        lab.page.keyboard.press("Escape")
    else:
        lab.page.keyboard.press("Tab")
        still(lab.page)
    picture = around(lab.page, cell, 330)
    lab.page.keyboard.press("Escape")
    return picture


def misspelt(lab: Lab) -> bytes:
    cell = asked(lab, "%hwprune model --input example --target inel-cpu")
    expect(cell.locator(".jp-OutputArea-output").first).to_be_visible()
    return cell.screenshot()


def targets(lab: Lab) -> bytes:
    lab.page.set_viewport_size(NARROW)
    cell = asked(lab, "%hwprune targets")
    expect(cell.locator("table").first).to_be_visible(timeout=RUN_MS)
    cell.evaluate("cell => cell.scrollIntoView({ block: 'start' })")
    still(lab.page)
    return around(lab.page, cell, 700)


def widgets(lab: Lab) -> bytes:
    """Photograph the form of widgets after its run."""
    cell = asked(lab, "%hwprune panel")
    form = cell.locator(".hwprune-panel")
    expect(form).to_contain_text("measured here", timeout=RUN_MS)
    form.get_by_role("button", name="Run", exact=True).click()
    expect(cell.locator(".hwprune-badge, .hwprune-report").first).to_be_visible(timeout=RUN_MS)
    cell.evaluate("cell => cell.scrollIntoView({ block: 'start' })")
    still(lab.page)
    return around(lab.page, cell, 620)


def side_panel(lab: Lab) -> bytes:
    """Photograph the form in the side bar, with a share that cannot be."""
    side = lab.open_side_panel()
    expect(side.get_by_text("Measured here by").first).to_be_visible()
    side.get_by_test_id("sparsity").fill("2")
    still(lab.page)
    picture = side.screenshot()
    side.get_by_test_id("sparsity").fill("0.5")
    return picture


def comparison(lab: Lab) -> bytes:
    compare = lab.page.get_by_test_id("compare")
    if compare.is_disabled():  # it takes what is chosen
        for box in lab.page.get_by_test_id("run").get_by_role("checkbox").all()[:2]:
            box.click()
    compare.click()
    sides = lab.page.get_by_test_id("comparison")
    expect(sides).to_be_visible()
    if lab.page.locator(".jp-hwprune-tab").count() == 0:  # it stands below in the side panel
        sides.scroll_into_view_if_needed()
    return still(lab.page).screenshot()


def written(lab: Lab, line: str) -> Locator:
    """Write a line into a new last cell."""
    lab.panel.locator(".jp-Cell").last.locator(".jp-InputPrompt").click()
    lab.command("notebook:insert-cell-below")
    lab.command("notebook:enter-edit-mode")
    lab.page.keyboard.insert_text(line)
    return lab.panel.locator(".jp-Cell").last


def asked(lab: Lab, line: str) -> Locator:
    cell = written(lab, line)
    lab.page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).not_to_have_text("[ ]:")
    expect(cell.locator(".jp-InputPrompt")).not_to_have_text("[*]:", timeout=RUN_MS)
    return cell


def still(page: Page) -> Page:
    page.mouse.move(0, 0)
    page.wait_for_timeout(STILL_MS)
    return page


def around(page: Page, cell: Locator, height: int) -> bytes:
    """Photograph a cell and what hangs below it."""
    box = cell.bounding_box()
    assert box is not None
    view = page.viewport_size or WIDE
    top = min(box["y"], view["height"] - height)
    return page.screenshot(clip={"x": box["x"], "y": max(0, top), "width": box["width"], "height": height})


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
