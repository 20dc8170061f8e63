"""The networks of `benchmarks.export` that the transformers library makes of its configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.export_nets import OWN, Network, ids, images, noise


class OneOutput(nn.Module):
    """What people write around a model of the library before they export it: no cache, no class of its own."""

    def __init__(self, model: nn.Module, output: str, names: tuple[str, ...], options: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.output, self.names, self.options = model, output, names, options

    def forward(self, *inputs: Tensor) -> Tensor:
        y: Tensor = getattr(self.model(**dict(zip(self.names, inputs, strict=True)), **self.options), self.output)
        return y


def library(
    model: str,
    options: dict[str, Any],
    output: str = "logits",
    names: tuple[str, ...] = ("pixel_values",),
    config: str | None = None,
    **calls: Any,
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers

        kind = config or model.partition("For")[0].removesuffix("Model").removesuffix("Encoder") + "Config"
        made = getattr(transformers, model)(getattr(transformers, kind)(**options))
        return OneOutput(made, output, names, calls)

    return build


WIDTH, HEADS = 256, 4
LAYERS = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
}
TOKENS = {"vocab_size": 1000, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {**LAYERS, **TOKENS}
SPEECH = {
    **LAYERS,
    "vocab_size": 32,
    "conv_dim": [64] * 7,
    "num_conv_pos_embedding_groups": 8,
    "apply_spec_augment": False,
    "layerdrop": 0.0,
}
BART = {
    **TOKENS,
    "d_model": WIDTH,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": HEADS,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 4 * WIDTH,
    "decoder_ffn_dim": 4 * WIDTH,
}
WORDS, BOTH = ("input_ids",), ("input_ids", "decoder_input_ids")


LIBRARY: dict[str, Network] = {
    "bert": Network(library("BertForSequenceClassification", TEXT, names=WORDS), ids(), "bert", HEADS, WIDTH),
    "gpt2": Network(
        library(
            "GPT2LMHeadModel",
            {**TOKENS, "n_embd": WIDTH, "n_layer": 4, "n_head": HEADS},
            names=WORDS,
            config="GPT2Config",
            use_cache=False,
        ),
        ids(),
        "gpt2",
        HEADS,
        WIDTH,
    ),
    "llama": Network(
        library("LlamaForCausalLM", {**TEXT, "num_key_value_heads": 2}, names=WORDS, use_cache=False), ids()
    ),
    "qwen3": Network(
        library("Qwen3ForCausalLM", {**TEXT, "num_key_value_heads": 2, "head_dim": 64}, names=WORDS, use_cache=False),
        ids(),
        "qwen3",
        HEADS,
        WIDTH,
    ),
    "t5": Network(
        library(
            "T5ForConditionalGeneration",
            {
                **TOKENS,
                "d_model": WIDTH,
                "d_kv": 64,
                "d_ff": 4 * WIDTH,
                "num_layers": 3,
                "num_heads": HEADS,
                "decoder_start_token_id": 0,
            },
            names=BOTH,
            use_cache=False,
        ),
        ids(64, twice=True),
        "t5",
        HEADS,
        WIDTH,
    ),
    "bart": Network(
        library("BartForConditionalGeneration", {**BART, "decoder_start_token_id": 0}, names=BOTH, use_cache=False),
        ids(64, twice=True),
        "bart",
        HEADS,
        WIDTH,
    ),
    "deberta": Network(library("DebertaV2ForSequenceClassification", TEXT, names=WORDS), ids()),
    "vit": Network(library("ViTForImageClassification", LAYERS), images(), "vit", HEADS, WIDTH),
    "whisper_encoder": Network(
        library(
            "WhisperModel",
            {
                **BART,
                "num_mel_bins": 80,
                "max_source_positions": 150,
                "decoder_start_token_id": 1,
                "suppress_tokens": None,
                "begin_suppress_tokens": None,
            },
            "last_hidden_state",
            ("input_features", "decoder_input_ids"),
            config="WhisperConfig",
            use_cache=False,
        ),
        lambda: (torch.randn(1, 80, 300), torch.randint(3, 1000, (1, 16))),
        "bart",
        HEADS,
        WIDTH,
    ),
    "wav2vec2": Network(library("Wav2Vec2ForCTC", SPEECH, names=("input_values",)), noise(1, 16000)),
    "convnext": Network(
        library("ConvNextForImageClassification", {"hidden_sizes": [48, 96, 192, 384], "depths": [2, 2, 4, 2]}),
        images(160),
    ),
    "mobilenet_library": Network(library("MobileNetV2ForImageClassification", {}), images()),
    "swin": Network(
        library("SwinForImageClassification", {"embed_dim": 48, "depths": [2, 2, 2, 2], "num_heads": [2, 4, 8, 16]}),
        images(),
        "swin",
        2,
        48,
    ),
    "segformer": Network(library("SegformerForSemanticSegmentation", {"decoder_hidden_size": 128}), images(128)),
    "yolos": Network(
        library("YolosForObjectDetection", {**LAYERS, "image_size": [192, 192], "num_detection_tokens": 20}),
        images(192),
        "vit",
        HEADS,
        WIDTH,
    ),
    "mobilevit": Network(library("MobileViTForImageClassification", {}), images(160)),
    "clip": Network(
        library("CLIPVisionModel", LAYERS, "pooler_output", config="CLIPVisionConfig"), images(), "clip", HEADS, WIDTH
    ),
}
NETWORKS: dict[str, Network] = {**OWN, **LIBRARY}
