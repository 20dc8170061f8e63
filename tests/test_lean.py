"""The ONNX graph is rewritten without its large weights: the file is the one made with all of them in place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxslim
import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export import fitting, lean, remembered
from jupyter_hwprune.export.onnx import export_onnx
from tests.networks import ZOO, images
from tests.test_export import Pitch, Same

NEVER = 1 << 40
FEW = 1000  # below that onnxslim compares the values of all constants


class Scaled(nn.Module):
    """A convolution by 1x1, whose scaled output onnxslim merges into its weight, and rows of fixed places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.places = nn.Conv2d(3, 400, 1), nn.Embedding(2000, 16)
        self.scale = nn.Parameter(torch.rand(400, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:  # [N, 3, 16, 16]
        y: Tensor = self.conv(x) * self.scale
        return y + self.places.weight[torch.arange(16) * 7]


def language_model(name: str) -> tuple[nn.Module, Tensor]:
    transformers = pytest.importorskip("transformers")
    if name == "bert":
        sizes = {"hidden_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 96}
        model = transformers.BertModel(transformers.BertConfig(vocab_size=60, **sizes))
    else:
        tokens = {"vocab_size": 60, "bos_token_id": 0, "eos_token_id": 0}
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=64, n_layer=2, n_head=2, **tokens))
    return model, torch.randint(0, 60, (1, 9))


def network(name: str) -> tuple[nn.Module, Tensor]:
    if name in ZOO:
        build, make_input = ZOO[name]
        return build(), make_input()
    if name in {"bert", "gpt2"}:
        return language_model(name)
    return (Pitch(), torch.randn(2, 128)) if name == "pitch" else (Same(width=64), images())


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module, Tensor, int], Any]:
    """Export with the values of weights of so many elements taken out; return the graph, and what was done."""
    done: Counter[str] = Counter()
    slim = onnxslim.slim

    def take(graph: Any) -> dict[str, bytes]:
        values = lean.take_values(graph)
        done["taken"] += len(values)
        return values

    def counted(*args: Any, **options: Any) -> Any:
        done["slimmed"] += 1
        return slim(*args, **options)

    monkeypatch.setattr(fitting, "take_values", take)
    monkeypatch.setattr(onnxslim, "slim", counted)

    def write(model: nn.Module, x: Tensor, elements: int) -> tuple[Any, Counter[str]]:
        done.clear()
        monkeypatch.setattr(remembered, "_cases", type(remembered._cases)())
        monkeypatch.setattr(lean, "LARGE_ELEMENTS", elements)
        case = export_onnx(model.eval(), Example.of(x), tmp_path, f"of-{elements}")
        return onnx.load(str(case.model)), done.copy()

    return write


@pytest.mark.parametrize("name", ["residual", "mobile", "unet", "transformer_tied", "bert", "gpt2", "pitch", "same"])
def test_the_file_is_the_same_without_and_with_the_weights_in_place(name: str, written: Any) -> None:
    model, x = network(name)
    whole, none = written(model, x, NEVER)
    light, some = written(model, x, FEW)
    assert (none, some["taken"] > 0, some["slimmed"]) == ({"slimmed": 1, "taken": 0}, True, 1)
    assert light == whole


@pytest.mark.parametrize("told_wrong", [{"MERGED": frozenset()}, {"_is_product": lambda *_: True}])
def test_a_weight_whose_values_are_read_after_all_is_put_back_before(
    told_wrong: dict[str, Any], written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Scaled()
    whole, _ = written(model, images(), NEVER)
    assert {node.op_type for node in whole.graph.node} == {"Conv", "Add"}
    for name, value in told_wrong.items():
        monkeypatch.setattr(lean, name, value)
    light, some = written(model, images(), FEW)
    assert (some["taken"] > 0, some["slimmed"]) == (True, 2)
    assert light == whole
