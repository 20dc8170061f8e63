"""Causal language models as their bare configurations make them: they return a key-value cache, and are measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.test_door_models import quick, said

transformers = pytest.importorskip("transformers")
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
OF_GPT2 = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", OF_GPT2 | {"bos_token_id": 0, "eos_token_id": 0}),
    "llama": ("Llama", SIZES),
    "qwen2": ("Qwen2", SIZES),
    "mistral": ("Mistral", SIZES),
}


def built(kind: str) -> Any:
    name, sizes = KINDS[kind]
    config = getattr(transformers, f"{name}Config")(**sizes)
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    return getattr(transformers, name + head)(config).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("kind", "pattern", "toolchain"),
    [
        ("gpt2", "channel", "openvino"),
        ("llama", "channel", "onnxruntime"),
        ("qwen2", "channel", "onnxruntime"),
        ("mistral", "channel", "onnxruntime"),
        ("llama", "unstructured", "onnxruntime"),
    ],
)
def test_a_model_with_a_cache_is_pruned_and_measured(kind: str, pattern: str, toolchain: str) -> None:
    model, ids = built(kind), torch.randint(0, 64, (2, 8))
    run = quick(model, ids, pattern=pattern, sparsity=0.5, toolchain=toolchain)
    assert run.report.measurement.evidence.kind == "measured"
    assert run.report.layers
    assert "past_key_values (DynamicCache)" in said(run, "1 value among the model's outputs is no tensor")
    with torch.no_grad():
        assert run.model(ids, use_cache=True).past_key_values is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_model_with_a_cache_is_exported_as_a_program(tmp_path: Any) -> None:
    from jupyter_hwprune.core.example import Example
    from jupyter_hwprune.export.program import export_program

    model, ids = built("llama"), torch.randint(0, 64, (2, 8))
    case = export_program(model, Example.of(ids), tmp_path, "m", "float32")
    program = torch.export.load(case.model)
    (found,) = program.module()(ids)
    with torch.no_grad():
        torch.testing.assert_close(found, model(ids).logits)
