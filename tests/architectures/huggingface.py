"""Models of the transformers library from small configurations, with random weights."""

from __future__ import annotations

from torch import nn

from .entry import Entry, ids


def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16,
    )  # fmt: skip
    model: nn.Module = BertForSequenceClassification(config)
    return model


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=50, n_embd=32, n_layer=2, n_head=4, n_positions=16, use_cache=False, bos_token_id=0, eos_token_id=0
    )
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, max_position_embeddings=16, use_cache=False,
    )  # fmt: skip
    model: nn.Module = LlamaForCausalLM(config)
    return model


HUGGINGFACE = {
    "transformers_bert": Entry(bert, ids(), 0.6, plain=False),
    "transformers_gpt2": Entry(gpt2, ids(), 0.5, plain=False),
    "transformers_llama": Entry(llama, ids(), 0.5, plain=False),
}
