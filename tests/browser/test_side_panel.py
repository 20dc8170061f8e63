"""The side panel: it lists the notebook's models, writes a visible cell and runs it, lists the runs, compares them."""

from __future__ import annotations

import dataclasses

from playwright.sync_api import expect

from jupyter_hwprune.render import mimebundle

from . import documents
from .lab import Lab
from .server import NO_SUBSHELLS


def test_it_lists_the_models_writes_a_cell_and_runs_it(lab: Lab) -> None:
    path = documents.write(lab.server.notebooks, "run.ipynb", documents.code(documents.SETUP), documents.code("1 + 1"))
    lab.open(path)
    side = lab.open_side_panel()
    expect(side.get_by_text("There is no model: torch is not imported yet.")).to_be_visible()
    lab.run(0)
    expect(side.get_by_test_id("model-net")).to_contain_text("Sequential, 16.8 k parameters")
    side.get_by_test_id("target").select_option("x86-cpu")
    side.get_by_test_id("pattern").fill("channel/8")
    side.get_by_test_id("sparsity").fill("0.5")
    side.get_by_test_id("toolchain").select_option("onnxruntime")
    line = "%hwprune net --target x86-cpu --sparsity 0.5 --pattern channel/8 --toolchain onnxruntime"
    shown = side.get_by_test_id("line").inner_text()
    assert sorted(shown.split()) == sorted(line.split())

    advice = side.get_by_test_id("advise").get_attribute("title") or ""
    assert advice.startswith("%hwprune advise net --target x86-cpu --toolchain onnxruntime")

    lab.cell(0).locator(".cm-content").click()
    side.get_by_test_id("insert").click()
    expect(lab.panel.locator(".jp-CodeCell")).to_have_count(3)
    expect(lab.cell(1).locator(".cm-content")).to_have_text(shown)
    expect(lab.prompt(1)).to_have_text("[ ]:")

    side.get_by_test_id("insert-and-run").click()
    expect(lab.cell(2).locator(".cm-content")).to_have_text(shown)
    expect(lab.output(2).locator(".hwprune-report")).to_be_visible()
    lab.wait_for_end(2)
    expect(lab.prompt(1)).to_have_text("[ ]:")
    expect(side.get_by_test_id("run")).to_have_count(1)
    expect(side.get_by_test_id("run")).to_contain_text("net for x86-cpu, channel/8")


def test_a_value_that_cannot_be_is_refused_with_a_sentence(lab: Lab) -> None:
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", documents.code(documents.SETUP)))
    side = lab.open_side_panel()
    side.get_by_test_id("sparsity").fill("1.5")
    expect(side.get_by_test_id("insert")).to_be_disabled()
    expect(side.get_by_test_id("sparsity")).to_have_accessible_description(
        "Write a share above 0 and below 1, such as 0.5."
    )


def test_the_button_says_why_it_is_off_and_an_old_result_leaves_when_something_else_happens(lab: Lab) -> None:
    two = "import torch\nfrom torch.nn import Linear, Sequential\n"
    two += "a, b = Linear(4, 4), Sequential(Linear(64, 128), Linear(128, 64))"
    cells = (
        "1 + 1",
        two,
        "x = torch.randn(2, 64)\n%load_ext jupyter_hwprune\n%hwprune b --toolchain onnxruntime;",
        "1 + 1",
    )
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *map(documents.code, cells)))
    side = lab.open_side_panel()
    why, run = side.get_by_test_id("obstacle"), side.get_by_test_id("insert-and-run")
    lab.run(0)
    expect(why).to_have_text("There is no model yet: run the cell that makes one.")
    expect(run).to_be_disabled()
    expect(side.get_by_test_id("insert")).to_be_enabled()
    lab.run(1)
    expect(why).to_have_text("Choose the model to prune.")
    side.get_by_test_id("model-b").click()
    expect(why).to_have_text("Choose the example input, a tensor that the model takes.")
    lab.run(2)
    expect(why).to_be_empty()
    expect(run).to_be_enabled()
    card = side.get_by_test_id("progress-card")
    expect(card).to_contain_text("Done")
    side.get_by_test_id("pattern").fill("128x128")
    expect(card).to_be_hidden()
    expect(why).to_have_text("No layer of b can hold 128x128.")
    expect(run).to_be_disabled()
    expect(run).to_have_accessible_description("No layer of b can hold 128x128.")
    side.get_by_test_id("pattern").fill("4:8")
    expect(run).to_be_enabled()
    lab.run(2)
    expect(card).to_contain_text("Done")
    lab.run(3)
    expect(card).to_be_hidden()


def test_it_lists_the_runs_of_a_saved_notebook_and_compares_them_without_a_kernel(lab: Lab) -> None:
    first = documents.small()
    request = dataclasses.replace(first.request, pattern="2:4")
    second = dataclasses.replace(documents.varied(), request=request, created="2026-02-02T00:00:00+00:00")
    cells = [documents.code(documents.PRUNE, mimebundle(each)) for each in (first, second)]
    documents.write(lab.server.notebooks, "old.ipynb", *cells)
    lab.open_without_kernel("old.ipynb")
    side = lab.open_side_panel()
    expect(side.get_by_test_id("hindrance")).to_contain_text("This notebook has no kernel.")
    runs = side.get_by_test_id("run")
    expect(runs).to_have_count(2)
    for box in runs.get_by_role("checkbox").all():
        box.check()
    side.get_by_test_id("compare").click()
    tab = lab.page.locator(".jp-hwprune-tab:visible")
    table = tab.get_by_test_id("comparison")
    expect(table.get_by_test_id("compare-pattern")).to_have_text("pattern (differs)" + "2:4" + "channel/8")
    expect(table.get_by_test_id("compare-dense").get_by_role("cell").first).to_have_text("2.00 ms")
    expect(tab.get_by_role("note").first).to_contain_text("Their times cannot be compared")
    expect(table.get_by_test_id("compare-batch")).to_be_hidden()
    tab.get_by_test_id("compare-all").check()
    expect(table.get_by_test_id("compare-model")).to_contain_text("net")


def test_a_kernel_that_was_busy_before_the_panel_opened_answers_it(lab: Lab) -> None:
    cells = documents.code(documents.SETUP), documents.code("import time\nwhile True: time.sleep(0.1)")
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells))
    lab.run(0)
    lab.start_cell(1)
    expect(lab.prompt(1)).to_have_text("[*]:")
    side = lab.open_side_panel()
    expect(side.get_by_test_id("model-net")).to_be_visible()  # %load_ext has the kernel answer at once
    expect(side.get_by_test_id("hindrance")).to_be_empty()
    expect(lab.prompt(1)).to_have_text("[*]:")
    lab.command("notebook:interrupt-kernel")
    lab.wait_for_end(1)


def test_it_says_that_it_waits_where_a_busy_kernel_has_no_subshells(lab: Lab) -> None:
    cells = documents.code(documents.SETUP), documents.code("import time\nwhile True: time.sleep(0.1)")
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", *cells, kernel=NO_SUBSHELLS))
    lab.run(0)
    lab.start_cell(1)
    expect(lab.prompt(1)).to_have_text("[*]:")
    side = lab.open_side_panel()
    expect(side.get_by_test_id("hindrance")).to_have_text("The kernel is busy; the panel updates when it is free.")
    expect(side.get_by_test_id("model-net")).to_be_hidden()
    lab.command("notebook:interrupt-kernel")
    lab.wait_for_end(1)
    expect(side.get_by_test_id("model-net")).to_be_visible()
    expect(side.get_by_test_id("hindrance")).to_be_empty()


def test_the_settings_choose_its_side_and_what_its_form_begins_with(lab: Lab) -> None:
    settings = {"side": "left", "openAtStart": True, "defaultTarget": "arm-cpu", "defaultSparsity": 0.25}
    lab.server.set_settings("jupyter-hwprune", "plugin", settings)
    lab.open(documents.write(lab.server.notebooks, "run.ipynb", documents.code(documents.SETUP)))
    side = lab.page.locator("#jp-left-stack").get_by_role("region", name="Prune for a chip")
    expect(side).to_be_visible()
    expect(side.get_by_test_id("line")).to_contain_text("--target arm-cpu --sparsity 0.25")
