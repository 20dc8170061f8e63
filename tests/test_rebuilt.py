"""Models that a library builds by arguments: after pruning, these say the new shapes, and the weights load strictly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from tests.fakes.model_library import create_model

IMAGES = torch.rand(2, 3, 32, 32)
TOLD = "builds this model, and it loads its state_dict strictly"


def run_of(name: str, given: dict[str, Any], pattern: str, sparsity: float) -> Any:
    torch.manual_seed(0)
    model = create_model(name, **given).eval()
    return hwprune(
        model, IMAGES, target="cpu", toolchain="onnxruntime", pattern=pattern, sparsity=sparsity, effort=QUICK
    )


def assert_rebuilt(name: str, pruned: nn.Module, arguments: dict[str, Any]) -> None:
    again = create_model(name, **arguments).eval()
    again.load_state_dict(pruned.state_dict(), strict=True)
    with torch.no_grad():
        expected: Tensor = pruned(IMAGES)
        torch.testing.assert_close(again(IMAGES), expected)


@pytest.mark.parametrize(
    ("name", "given", "pattern", "sparsity", "arguments"),
    [
        ("vit_small", {"num_classes": 10}, "channel", 0.5, {"num_classes": 10, "embed_dim": 48, "num_heads": 3}),
        ("vit_small", {}, "channel", 0.4, {"embed_dim": 64, "num_heads": 4}),  # 40 % of 6 heads is none
        ("vit_small", {}, "depth", 0.5, {"depth": 2}),
        ("vit_small", {}, "depth+channel", 0.5, {"embed_dim": 48, "depth": 2, "num_heads": 3}),
        ("convnet_small", {"num_classes": 10}, "channel", 0.5, {"dims": (8, 16, 32), "num_classes": 10}),
    ],
)
def test_arguments_of_the_library_build_the_pruned_model(
    name: str, given: dict[str, Any], pattern: str, sparsity: float, arguments: dict[str, Any]
) -> None:
    run = run_of(name, given, pattern, sparsity)
    assert run.model.model_args == arguments
    assert_rebuilt(name, run.model, arguments)
    [said] = [each for each in run.report.reasons if TOLD in each]
    line = said.partition(f" {TOLD}")[0]
    assert_rebuilt(name, run.model, dict(eval(f"dict({line.partition(', ')[2]}")))


def test_a_shape_that_no_arguments_say_is_told() -> None:
    run = run_of("fixed_stem", {}, "channel", 0.5)
    assert not hasattr(run.model, "model_args")
    assert any("No arguments of tests.fakes.model_library.create_model say" in each for each in run.report.reasons)
