"""All that is shown, from a narrow window with the side panel open to a wide one: no text is cut off or overlapped."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from jupyter_hwprune.render import mimebundle

from . import documents
from .lab import Lab
from .looks import cramped_texts

WIDTHS = (900, 1360, 1920)
SHOWN = ("%hwprune targets", "%hwprune doctor")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_reports_tables_and_the_side_panel_fit_at_every_width(lab: Lab, theme: str) -> None:
    reports = [documents.code(documents.PRUNE, mimebundle(each)) for each in (documents.varied(), documents.small())]
    asked = [documents.code(f"%load_ext jupyter_hwprune\n{line}") for line in SHOWN]
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", documents.code(documents.SETUP), *reports, *asked))
    lab.use_theme(theme)
    for index in (0, 3, 4):
        lab.run(index)
    side = lab.open_side_panel()
    expect(side.get_by_test_id("model-net")).to_be_visible()
    side.get_by_test_id("sparsity").fill("2")  # with its complaint
    for width in WIDTHS:
        lab.page.set_viewport_size({"width": width, "height": 1000})
        lab.settle()
        parts = {"side": side, **{str(index): lab.output(index).last for index in (1, 2, 3, 4)}}
        assert {name: found for name, part in parts.items() if (found := cramped_texts(part))} == {}, width
