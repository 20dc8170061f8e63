"""Reports by toolchains from outside the package: the extension draws each from its data alone."""

from __future__ import annotations

import pytest
import torch
from playwright.sync_api import expect

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.report import MIME_TYPE
from tests.networks import cnn

from . import documents
from .lab import Lab


@pytest.mark.parametrize(
    ("target", "toolchain", "said"),
    [
        ("tpu-v5e", "tests.fakes.estimating", "by a made-up cost model, cycles"),
        ("qualcomm-npu", "tests.fakes.compiling", "compiled, not timed"),
        ("tests.fakes.toy", "tests.fakes.npu", "a toy of an NPU"),
    ],
)
def test_the_report_of_a_toolchain_from_outside_is_drawn(lab: Lab, target: str, toolchain: str, said: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    run = hwprune(cnn(), x, target=target, toolchain=toolchain, pattern="channel/4", effort=QUICK)
    bundle = documents.only_json(run._repr_mimebundle_()[MIME_TYPE])
    documents.write(lab.server.notebooks, "outside.ipynb", documents.code("1", bundle))
    lab.open_without_kernel("outside.ipynb")
    shown = lab.output(0).locator(".hwprune-report")
    expect(shown).to_contain_text(said)
    expect(shown.locator("tbody tr.hwprune-layer")).to_have_count(len(run.report.layers))
