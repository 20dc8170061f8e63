"""Models of the transformers library: after pruning their configuration is true, and they are written and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import hwprune, load
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import parse_pattern
from jupyter_hwprune.pruning import Pruned, plan_and_prune
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.configuration import Setting, settings_of
from jupyter_hwprune.pruning.method import Method

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning:transformers")

TOKENS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip
GROUPED: dict[str, Any] = {**SIZES, **TOKENS, "num_key_value_heads": 2, "use_cache": False}
IMAGES: dict[str, Any] = {**SIZES, "image_size": 16, "patch_size": 8}
GPT2: dict[str, Any] = {"vocab_size": 50, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 32, **TOKENS}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, "use_cache": False}),
    "bert": ("BertForSequenceClassification", "BertConfig", SIZES),
    "vit": ("ViTForImageClassification", "ViTConfig", {name: IMAGES[name] for name in IMAGES if name != "vocab_size"}),
}
COUNT = {"gpt2": "n_layer"}


def built(name: str) -> tuple[Any, dict[str, Tensor]]:
    import transformers

    kind, config, options = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**options)).eval()
    inputs = (
        {"pixel_values": torch.randn(2, 3, 16, 16)} if name == "vit" else {"input_ids": torch.arange(12).view(2, 6)}
    )
    return model, inputs


def pruned_by(model: nn.Module, inputs: dict[str, Tensor], pattern: str, share: float, **how: Any) -> Pruned:
    example = Example.of(inputs)
    method = Method(calibration=Calibration.of(example, model, example), **how)
    return plan_and_prune(model, example, parse_pattern(pattern), share, method)


def read_back(model: Any, folder: Path) -> Any:
    model.save_pretrained(folder)
    return type(model).from_pretrained(folder).eval()


def assert_alike(pruned: Any, again: Any, inputs: dict[str, Tensor]) -> None:
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, pruned(**inputs).logits, rtol=0, atol=0)
    if pruned.can_generate():
        tokens = [
            each.generate(inputs["input_ids"][:, :3], max_new_tokens=6, do_sample=False, use_cache=cache).tolist()
            for each in (pruned, again)
            for cache in (False, True)
        ]
        assert tokens == [tokens[0]] * 4


@pytest.mark.parametrize("name", MODELS)
def test_fewer_layers_are_written_and_read_back(name: str, tmp_path: Path) -> None:
    model, inputs = built(name)
    pruned = pruned_by(model, inputs, "depth", 0.5).model
    count = COUNT.get(name, "num_hidden_layers")
    assert (getattr(pruned.config, count), getattr(model.config, count)) == (2, 4)
    assert len(getattr(pruned.config, "layer_types", None) or "12") == 2
    assert_alike(pruned, read_back(pruned, tmp_path), inputs)


@pytest.mark.parametrize("name", MODELS)
def test_fewer_and_narrower_layers_are_written_and_read_back(name: str, tmp_path: Path) -> None:
    model, inputs = built(name)
    found = pruned_by(model, inputs, "depth+channel", 0.5)
    said = {each.name: each.value for each in settings_of(model, found.model)}
    assert said.items() >= {**NARROW[name], COUNT.get(name, "num_hidden_layers"): 2}.items()
    assert_alike(found.model, read_back(found.model, tmp_path), inputs)


NARROW: dict[str, dict[str, int]] = {
    "llama": {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32},
    "qwen2": {"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 32},
    "gpt2": {"n_embd": 16, "n_head": 2},
    "bert": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
    "vit": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32},
}


@pytest.mark.parametrize("name", MODELS)
def test_narrower_layers_are_written_and_read_back(name: str, tmp_path: Path) -> None:
    model, inputs = built(name)
    found = pruned_by(model, inputs, "channel", 0.5)
    said = {each.name: each.value for each in settings_of(model, found.model)}
    assert said.items() >= NARROW[name].items()
    assert any("The model's configuration has the new sizes" in remark for remark in found.remarks)
    assert_alike(found.model, read_back(found.model, tmp_path), inputs)


@pytest.mark.parametrize(("name", "hidden"), [("bert", "hidden_size"), ("gpt2", "n_embd")])
def test_the_share_is_one_that_the_configuration_can_say(name: str, hidden: str, tmp_path: Path) -> None:
    """Of 32 channels 30 % would leave 22, which three heads cannot share; 25 % leave 24."""
    model, inputs = built(name)
    found = pruned_by(model, inputs, "channel", 0.3)
    assert getattr(found.model.config, hidden) == 24
    assert found.remarks[0] == "25% of the channels are gone, which the configuration can describe."
    assert_alike(found.model, read_back(found.model, tmp_path), inputs)


def test_widths_that_no_configuration_says_are_not_written(tmp_path: Path) -> None:
    model, inputs = built("bert")
    with torch.no_grad():  # so that the layers lose different shares
        for parameter in model.get_submodule("bert.encoder.layer.0.intermediate").parameters():
            parameter[:32].mul_(1e-3)
    run = hwprune(
        model, inputs, target="cpu", toolchain="onnxruntime", pattern="channel", sparsity=0.4, allocation="global",
        effort=QUICK,
    )  # fmt: skip
    for each in (run.model, _saved_and_loaded(run, model, tmp_path / "run").model):
        with pytest.raises(InputError, match="no configuration of BertForSequenceClassification says the sizes"):
            each.save_pretrained(tmp_path / "folder")  # type: ignore[operator]
        assert not (tmp_path / "folder").exists()
    assert any("save_pretrained refuses" in said for said in run.report.reasons)


def test_a_loaded_run_has_the_true_configuration(tmp_path: Path) -> None:
    model, inputs = built("llama")
    run = hwprune(model, inputs, target="cpu", toolchain="onnxruntime", pattern="channel", sparsity=0.5, effort=QUICK)
    again = _saved_and_loaded(run, model, tmp_path / "run").model
    assert Setting(0, "hidden_size", 16) in settings_of(model, again)
    assert_alike(run.model, read_back(again, tmp_path / "folder"), inputs)
    assert model.config.hidden_size == 32


def test_a_model_around_one_of_the_library(tmp_path: Path) -> None:
    class Around(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor) -> Tensor:
            logits: Tensor = self.model(input_ids=input_ids).logits
            return logits

    model, inputs = built("bert")
    inner: Any = pruned_by(Around(model), inputs, "channel", 0.5).model.get_submodule("model")
    assert inner.config.hidden_size == 16
    assert_alike(inner, read_back(inner, tmp_path), inputs)


def _saved_and_loaded(run: Any, model: nn.Module, folder: Path) -> Any:
    run.save(folder)
    return load(folder, model)
