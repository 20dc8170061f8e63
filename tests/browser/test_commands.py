"""The ways in: the extension's own entry, the palette, the launcher, the toolbar, the menu of an output."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from jupyter_hwprune import Report
from jupyter_hwprune.render import mimebundle

from . import documents
from .lab import Lab

PLUGINS = ("plugin", "tutorials", "export", "report", "progress")


def test_the_extension_is_listed_and_all_its_plugins_are_active(lab: Lab) -> None:
    lab.start()
    config = json.loads(lab.page.locator("#jupyter-config-data").text_content() or "")
    assert "jupyter-hwprune" in [each["name"] for each in config["federated_extensions"]]
    for name in PLUGINS:
        lab.page.wait_for_function("id => window.jupyterapp.isPluginActivated(id)", arg=f"jupyter-hwprune:{name}")


def test_the_palette_offers_every_command_and_opens_the_panel(lab: Lab) -> None:
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", documents.code(documents.SETUP)))
    lab.page.keyboard.press("Control+Shift+C")
    lab.page.locator(".lm-CommandPalette input").fill("prune for a chip")
    labels = lab.page.locator(".lm-CommandPalette-itemLabel")
    for label in ("Prune for a Chip", "Insert the %hwprune Cell", "Compare Runs of This Notebook", "Pruning Tutorials"):
        expect(labels.get_by_text(label, exact=True)).to_be_visible()
    labels.get_by_text("What Is Missing on This Machine", exact=True).click()
    side = lab.page.get_by_role("region", name="Prune for a chip")
    expect(side.get_by_role("button", name="Doctor", exact=True)).to_have_attribute("aria-expanded", "true")


def test_the_launchers_card_opens_a_copy_of_a_tutorial(lab: Lab) -> None:
    lab.start()
    lab.page.locator(".jp-LauncherCard", has_text="Pruning Tutorials").click()
    dialog = lab.page.get_by_role("dialog")
    dialog.get_by_role("combobox").select_option(index=0)
    dialog.get_by_role("button", name="Open").click()
    expect(lab.panel).to_be_visible()
    lab.wait_for_kernel()  # one that is still to come would be there in the next test
    [copied] = lab.server.notebooks.glob("*.ipynb")
    assert "%load_ext jupyter_hwprune" in copied.read_text()


def test_a_report_is_exported_from_its_output_and_opens_as_a_file(lab: Lab) -> None:
    report = documents.small()
    cell = documents.code(documents.PRUNE, mimebundle(report))
    documents.write(lab.server.notebooks, "old.ipynb", cell)
    lab.open_without_kernel("old.ipynb")
    lab.output(0).locator(".hwprune-badge").click(button="right")
    lab.page.get_by_role("menuitem", name="Export the Report").click()
    lab.page.get_by_role("button", name="Open", exact=True).click()
    expect(lab.page.locator(".jp-MimeDocument .hwprune-report")).to_be_visible()
    [exported] = lab.server.notebooks.glob("*.hwprune.json")
    assert Report.load(exported) == report
