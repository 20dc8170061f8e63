"""All that is shown, from a narrow window with the side panel open to a wide one: no text is cut off or overlapped.

Nor is a word broken, or a text too faint to read, and axe-core finds nothing that shuts readers out.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jupyter_hwprune.render import mimebundle

from . import documents
from .lab import Lab
from .looks import broken_words, cramped_texts, faint_texts, violations

WIDTHS = (900, 1360, 1920)
THEMES = ("JupyterLab Light", "JupyterLab Dark")
SHOWN = ("%hwprune targets", "%hwprune doctor", "%hwprune panel")
ERRORS = ("%hwprune net --target inel-cpu", "%hwprune net --input x --pattern 64x64 --toolchain onnxruntime")


@pytest.mark.parametrize("theme", THEMES)
def test_reports_tables_and_the_side_panel_fit_at_every_width(lab: Lab, theme: str) -> None:
    reports = [documents.code(documents.PRUNE, mimebundle(each)) for each in (documents.varied(), documents.small())]
    asked = [documents.code(f"%load_ext jupyter_hwprune\n{line}") for line in SHOWN]
    wrong = [documents.code(line) for line in ERRORS]
    cells = documents.code(documents.SETUP), *reports, *asked, *wrong
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.use_theme(theme)
    for index in (0, 3, 4, 5, 6, 7):
        lab.run(index)
    side = lab.open_side_panel()
    expect(side.get_by_test_id("model-net")).to_be_visible()
    side.get_by_test_id("sparsity").fill("2")  # with its complaint
    for width in WIDTHS:
        lab.page.set_viewport_size({"width": width, "height": 1000})
        lab.settle()
        parts = {"side": side, **{str(index): lab.output(index).last for index in (1, 2, 3, 4)}}
        assert {name: found for name, part in parts.items() if (found := cramped_texts(part))} == {}, width
        assert {name: found for name, part in parts.items() if (found := faint_texts(part))} == {}, width
        assert faint_texts(lab.panel.locator(".hwprune-panel")) == []
    lab.command("application:toggle-right-area")
    lab.command("application:toggle-left-area")
    for width in WIDTHS:
        lab.page.set_viewport_size({"width": width, "height": 1000})
        lab.settle()
        assert [broken_words(lab.output(index).last) for index in (6, 7)] == [[], []], width


@pytest.mark.parametrize("theme", THEMES)
def test_every_kind_of_report_fits_stands_out_and_shuts_nobody_out(lab: Lab, theme: str) -> None:
    kinds = {**documents.kinds(), "300 layers": documents.large(300, 64)}
    bundles = [documents.only_json(documents.plain_data(each)) for each in kinds.values()]
    cells = [documents.code(documents.PRUNE, bundle) for bundle in bundles]
    documents.write(lab.server.notebooks, "kinds.ipynb", *cells)
    lab.open_without_kernel("kinds.ipynb")
    lab.use_theme(theme)
    shown = {name: lab.output(index).locator(".hwprune-report") for index, name in enumerate(kinds)}
    for part in shown.values():
        part.scroll_into_view_if_needed()
    for width in WIDTHS:
        lab.page.set_viewport_size({"width": width, "height": 1000})
        lab.settle()
        for check in (cramped_texts, faint_texts, violations):
            assert {name: found for name, part in shown.items() if (found := check(part))} == {}, width
