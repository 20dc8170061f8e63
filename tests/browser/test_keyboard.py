"""The report's table without a mouse."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from jupyter_hwprune.render import mimebundle

from . import documents
from .lab import Lab

MOST_STEPS = 60


def test_the_table_is_sorted_narrowed_and_opened_by_keys_alone(lab: Lab) -> None:
    documents.write(lab.server.notebooks, "old.ipynb", documents.code(documents.PRUNE, mimebundle(documents.varied())))
    lab.open_without_kernel("old.ipynb")
    shown = lab.output(0).locator(".hwprune-report")
    rows = shown.locator("tbody tr.hwprune-layer")
    shown.get_by_role("searchbox").focus()
    lab.page.keyboard.type("layer.1")
    expect(rows).to_have_count(3)

    tab_to(lab.page, "layer")
    lab.page.keyboard.press("Enter")
    expect(rows.locator("th")).to_have_text(["layer.1", "layer.10", "layer.11"], use_inner_text=True)
    lab.page.keyboard.press("Space")
    expect(rows.locator("th")).to_have_text(["layer.11", "layer.10", "layer.1"], use_inner_text=True)

    tab_to(lab.page, "layer.10")
    expect(lab.page.locator(":focus")).to_have_css("outline-style", "solid")
    lab.page.keyboard.press("Enter")
    slider = shown.get_by_role("slider", name="zoom")
    expect(slider).to_be_visible()
    tab_to(lab.page, "zoom")
    magnified = slider.get_attribute("aria-valuetext")
    lab.page.keyboard.press("Home")
    expect(slider).not_to_have_attribute("aria-valuetext", magnified or "")

    tab_to(lab.page, "layer.10", "Shift+Tab")
    lab.page.keyboard.press("Enter")
    expect(slider).to_be_hidden()


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Press Tab until what has the focus is called so."""
    for _ in range(MOST_STEPS):
        page.keyboard.press(key)
        focus = page.locator(":focus")
        label = "e => e.labels?.[0]?.textContent ?? e.innerText.trim()"
        if focus.count() == 1 and focus.evaluate(label) == name:
            return
    raise AssertionError(f"{MOST_STEPS} times {key} have not led to {name}")
