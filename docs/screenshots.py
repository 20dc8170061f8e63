# ruff: noqa: INP001  (a script, no package)
"""Make the README's pictures and this site's recorded reports, of the real thing: `python docs/screenshots.py`.

The quickstart runs in a real JupyterLab with the built extension, and is photographed there in chromium; so is
nbconvert's page of it, which no extension draws, and each point of docs/lab.md. The reports of that very run are what
the site shows as recorded.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, ViewportSize, expect

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))  # the browser tests know how to start a JupyterLab, and how to use one

import points  # noqa: E402

from jupyter_hwprune import Report  # noqa: E402
from jupyter_hwprune.report import MIME_TYPE  # noqa: E402
from tests.browser.lab import Lab  # noqa: E402

PAGE = ViewportSize(width=1040, height=860)
MOST_BYTES = 150_000
RECORDED = ("channels", "zeros")  # the quickstart's two reports


def main() -> None:
    with points.quickstart(DOCS.parent) as lab:
        photograph(lab)
        assert lab.page.context.browser is not None
        photograph_plain(lab.page.context.browser, lab.server.notebooks / points.NOTEBOOK)
    points.main("now", DOCS / "points")


def photograph(lab: Lab) -> None:
    """Keep the reports of a quickstart that has run, and pictures of it beside the side panel."""
    page = lab.page
    lab.save()
    record(lab.server.notebooks / points.NOTEBOOK)
    lab.command("application:toggle-left-area")
    lab.command("hwprune:open-panel")
    expect(page.get_by_text("Measured here by").first).to_be_visible()
    at_top(page, lab.cell(6))
    keep("lab", page.screenshot())
    lab.command("apputils:change-theme", theme="JupyterLab Dark")
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    zeros = lab.cell(10)
    zeros.get_by_role("button", name="2.0 Conv2d", exact=True).click()
    at_top(page, zeros.get_by_role("table"))
    keep("lab-dark", page.screenshot())
    lab.command("apputils:change-theme", theme="JupyterLab Light")
    lab.command("application:toggle-right-area")
    lab.command("notebook:insert-cell-below")
    lab.command("notebook:enter-edit-mode")
    page.keyboard.type("%hwprune panel")
    page.keyboard.press("Control+Enter")
    form = lab.panel.locator(".hwprune-panel")
    expect(form).to_contain_text("measured here")
    keep("panel", form.screenshot())


def at_top(page: Page, part: Locator) -> None:
    """Bring a part of the page to the window's top, and wait until it stands still there."""
    part.evaluate("part => part.scrollIntoView({ block: 'start' })")
    page.mouse.move(0, 0)
    page.wait_for_timeout(points.STILL_MS)


def record(notebook: Path) -> None:
    """Keep a notebook's reports, for the site to show."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    found = [output.get("data", {}).get(MIME_TYPE) for cell in cells for output in cell.get("outputs", [])]
    for name, data in zip(RECORDED, filter(None, found), strict=True):
        Report.from_json(json.dumps(data)).save(DOCS / "recorded" / f"{name}.json")


def photograph_plain(browser: Browser, notebook: Path) -> None:
    """Keep a picture of the first report on nbconvert's page."""
    exporter: Any = HTMLExporter
    html, _ = exporter().from_filename(str(notebook))
    page = browser.new_context(viewport=PAGE, java_script_enabled=False).new_page()
    page.set_content(html)
    keep("report", page.locator(".jp-RenderedHTMLCommon:has(b:text('FASTER'))").first.screenshot())


def keep(name: str, png: bytes) -> None:
    """Write a picture with a palette of its own, small enough for a README."""
    for colours in (256, 128, 64, 32):
        small: Any = io.BytesIO()
        Image.open(io.BytesIO(png)).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(
            small, format="png", optimize=True
        )
        if small.tell() <= MOST_BYTES:
            break
    path = DOCS / f"{name}.png"
    path.write_bytes(small.getvalue())
    print(f"{path}: {small.tell() / 1000:.0f} kB, {colours} colours")


if __name__ == "__main__":
    main()
