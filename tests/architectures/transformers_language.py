"""Language models of the transformers library, as their configurations make them: with caches among the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .entry import Entry, ids

TOKENS: dict[str, Any] = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 16,
}  # fmt: skip
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2}
GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16}
OPT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32,
    "max_position_embeddings": 16,
}  # fmt: skip
T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 1,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
BART: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 16,
    "decoder_start_token_id": 0,
}  # fmt: skip
DISTILBERT: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 16}
STATES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "state_size": 4,
    "time_step_rank": 4,
    "use_cache": False,
}
QWEN_EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
}  # fmt: skip


def of_library(model: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    """Name a class of the library and that of its configuration; the weights are random."""

    def build() -> nn.Module:
        import transformers

        made: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
        return made

    return build


def language(kind: str, head: str = "ForCausalLM", **options: Any) -> Callable[[], nn.Module]:
    return of_library(f"{kind}{head}", f"{kind}Config", **TOKENS, **options)


class OnlyLogits(nn.Module):
    """What people write around a model of the library before they trace it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        y: Tensor = self.model(input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        return y


def two_texts() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, 50, (2, 6)), "decoder_input_ids": torch.randint(3, 50, (2, 5))}


def only_logits(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: OnlyLogits(build())


def masked_text() -> dict[str, Tensor]:
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[1, 4:] = 0
    return {"input_ids": torch.randint(3, 50, (2, 6)), "attention_mask": mask}


CAUSAL = {
    "transformers_gpt2_cache": Entry(language("GPT2", "LMHeadModel", **GPT2), ids(), 0.5, plain=False),
    "transformers_llama_cache": Entry(language("Llama", **GROUPED), ids(), 0.6, plain=False),
    "transformers_qwen2": Entry(language("Qwen2", **GROUPED), ids(), 0.6, plain=False),
    "transformers_qwen3": Entry(language("Qwen3", **GROUPED, head_dim=8), ids(), 0.6, plain=False),
    "transformers_mistral": Entry(language("Mistral", **GROUPED, sliding_window=4), ids(), 0.6, plain=False),
    "transformers_gpt_neox": Entry(language("GPTNeoX", **SMALL), ids(), 0.6, plain=False),
    "transformers_opt": Entry(language("OPT", **OPT), ids(), 0.5, plain=False),
    "transformers_gemma": Entry(language("Gemma", **GROUPED, head_dim=16), ids(), 0.6, plain=False),
    "transformers_phi": Entry(language("Phi", **SMALL), ids(), 0.6, plain=False),
    "transformers_bloom": Entry(language("Bloom", hidden_size=32, n_layer=2, n_head=4), ids(), 0.6, plain=False),
    "transformers_mixtral": Entry(
        language("Mixtral", **GROUPED, num_local_experts=4, num_experts_per_tok=2), ids(), 0.6, plain=False
    ),
    "transformers_qwen2_experts": Entry(language("Qwen2Moe", **GROUPED, **QWEN_EXPERTS), ids(), 0.6, plain=False),
    "transformers_mamba": Entry(language("Mamba", **STATES), ids(), 0.5, plain=False),
}

# The encoder's last state is an output of an encoder-decoder as it comes, so that its width stays.
TEXT = {
    "transformers_t5": Entry(language("T5", "ForConditionalGeneration", **T5), two_texts, 0.4, plain=False),
    "transformers_t5_logits": Entry(
        only_logits(language("T5", "ForConditionalGeneration", **T5)), two_texts, 0.6, plain=False
    ),
    "transformers_bart": Entry(language("Bart", "ForConditionalGeneration", **BART), two_texts, 0.4, plain=False),
    "transformers_bart_logits": Entry(
        only_logits(language("Bart", "ForConditionalGeneration", **BART)), two_texts, 0.6, plain=False
    ),
    "transformers_roberta_masked_lm": Entry(
        language("Roberta", "ForMaskedLM", **{**SMALL, "max_position_embeddings": 20}),
        lambda: torch.randint(3, 50, (2, 6)), 0.6, plain=False,
    ),
    "transformers_distilbert": Entry(
        language("DistilBert", "ForTokenClassification", **DISTILBERT), masked_text, 0.6, plain=False
    ),
    "transformers_electra": Entry(
        language("Electra", "ForSequenceClassification", **SMALL, embedding_size=16), ids(), 0.6, plain=False
    ),
    "transformers_albert": Entry(
        language("Albert", "ForSequenceClassification", **SMALL, embedding_size=16), masked_text, 0.6, plain=False
    ),
    "transformers_deberta": Entry(
        language(
            "DebertaV2", "ForSequenceClassification", **SMALL, relative_attention=True, position_buckets=8,
            pos_att_type=["p2c", "c2p"], share_att_key=True, norm_rel_ebd="layer_norm",
        ),
        ids(), 0.6, plain=False,
    ),
    "transformers_bert_pooled": Entry(language("Bert", "Model", **SMALL), masked_text, 0.3, plain=False),
}  # fmt: skip

TRANSFORMERS_LANGUAGE = {**CAUSAL, **TEXT}
