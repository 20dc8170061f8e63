"""What JupyterLab offers and answers while a line is typed: Tab, and a word that is misspelt."""

from __future__ import annotations

from playwright.sync_api import expect

from . import documents
from .lab import Lab


def test_tab_offers_the_chips_first_each_with_what_it_is_and_no_word_of_python(lab: Lab) -> None:
    cells = documents.code(documents.SETUP), documents.code("%hwprune net --target ")
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.run(0)
    for _ in range(5):  # JupyterLab waits a second for the kernel, and on a busy machine offers the cell's own words
        lab.cell(1).locator(".cm-content").click()
        lab.page.keyboard.press("End")
        lab.page.keyboard.press("Tab")
        offered = lab.page.locator(".jp-Completer .jp-Completer-item")
        expect(offered.first).to_be_visible()
        if offered.filter(has_text="target").count() > 0:
            break
        lab.page.keyboard.press("Escape")
    expect(offered.first).to_contain_text("cpu")
    expect(offered.filter(has_text="hopper")).to_contain_text("target")
    words = offered.locator(".jp-Completer-match").all_inner_texts()
    assert not {"and", "if", "import", "in", "is", "not", "or"} & set(words)


def test_a_misspelt_chip_and_a_pattern_that_fits_nothing_end_in_what_does(lab: Lab) -> None:
    lines = "%hwprune net --target inel-cpu", "%hwprune net --input x --pattern 64x64 --toolchain onnxruntime"
    cells = documents.code(documents.SETUP), *map(documents.code, lines)
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.run(0)
    expect(lab.run(1).last).to_contain_text("Did you mean intel-cpu?")
    expect(lab.run(2).last).to_contain_text("This line fits:")
    expect(lab.output(2).last).to_contain_text("--pattern channel/8")
