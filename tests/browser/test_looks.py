"""What can be computed of the looks: contrast in both themes, and what axe-core finds in our parts of the page."""

from __future__ import annotations

from playwright.sync_api import expect

from jupyter_hwprune.render import mimebundle

from . import documents
from .lab import Lab
from .looks import faint_texts, violations

THEMES = ("JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast")


def test_words_stand_out_and_nothing_shuts_readers_out_in_any_theme(lab: Lab) -> None:
    bundles = [mimebundle(documents.varied()), mimebundle(documents.small())]
    cells = documents.code(documents.SETUP), *(documents.code(documents.PRUNE, each) for each in bundles)
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.run(0)
    report = lab.output(1).locator(".hwprune-report")
    report.get_by_role("button", name="layer.11", exact=True).click()
    report.get_by_text("machine, versions and the request").click()
    expect(report.get_by_role("slider")).to_be_visible()
    side = lab.open_side_panel()
    expect(side.get_by_test_id("model-net")).to_be_visible()
    side.get_by_test_id("sparsity").fill("2")  # with its complaint
    side.get_by_role("button", name="Doctor", exact=True).click()
    expect(side.get_by_test_id("part-onnxruntime")).to_be_visible()
    for box in side.get_by_test_id("run").get_by_role("checkbox").all():
        box.check()
    for theme in THEMES:
        lab.use_theme(theme)
        for part in (report, side):
            assert faint_texts(part) == [], theme
            assert violations(part) == [], theme


def test_the_plain_report_does_so_too_where_the_extension_is_not_installed(plain_lab: Lab) -> None:
    cell = documents.code(documents.PRUNE, mimebundle(documents.varied()))
    documents.write(plain_lab.server.notebooks, "old.ipynb", cell)
    plain_lab.open_without_kernel("old.ipynb")
    expect(plain_lab.output(0).get_by_text("process-CPU time of a batch")).to_be_visible()
    for theme in THEMES:
        plain_lab.use_theme(theme)
        assert faint_texts(plain_lab.output(0)) == [], theme
        assert violations(plain_lab.output(0)) == [], theme
