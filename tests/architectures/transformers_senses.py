"""Vision, speech, vision-language, detection and time-series models of the transformers library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .entry import Entry, ids, images
from .transformers_language import of_library

PATCHES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
SWIN: dict[str, Any] = {
    "image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
    "num_labels": 5,
}  # fmt: skip
CONVNEXT: dict[str, Any] = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2, "num_labels": 5}
SEGFORMER: dict[str, Any] = {
    "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [16, 32], "patch_sizes": [7, 3],
    "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "decoder_hidden_size": 32, "num_labels": 5,
}  # fmt: skip
RESNET: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1], "layer_type": "bottleneck"}
MOBILEVIT: dict[str, Any] = {
    "image_size": 32, "patch_size": 2, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64],
    "num_attention_heads": 2, "num_labels": 5,
}  # fmt: skip
REGNET: dict[str, Any] = {
    "embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8, "layer_type": "y",
    "num_labels": 5,
}  # fmt: skip
TEXT_TOWER: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
SOUND: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 12,
    "conv_dim": [16, 16], "conv_kernel": [10, 3], "conv_stride": [5, 2], "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "apply_spec_augment": False, "layerdrop": 0.0,
    "classifier_proj_size": 16,
}  # fmt: skip
WHISPER: dict[str, Any] = {
    "vocab_size": 50, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 8,
    "max_source_positions": 10, "max_target_positions": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
DETR: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_queries": 6, "num_labels": 5,
}  # fmt: skip
PATCHTST: dict[str, Any] = {
    "num_input_channels": 2, "context_length": 16, "prediction_length": 4, "patch_length": 4, "patch_stride": 4,
    "d_model": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "ffn_dim": 64,
}  # fmt: skip
PATCHTSMIXER: dict[str, Any] = {
    "num_input_channels": 2, "context_length": 16, "prediction_length": 4, "patch_length": 4, "patch_stride": 4,
    "d_model": 16, "num_layers": 1,
}  # fmt: skip


class Pooled(nn.Module):
    """An encoder of the library under a head of one's own."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.encoder(x).last_hidden_state.mean(1))
        return y


def pooled(build: Callable[[], nn.Module], width: int = 32) -> Callable[[], nn.Module]:
    return lambda: Pooled(build(), width)


def vision(kind: str, head: str = "ForImageClassification", **options: Any) -> Callable[[], nn.Module]:
    return of_library(f"{kind}{head}", f"{kind}Config", **options)


def two_towers(kind: str, **options: Any) -> Callable[[], nn.Module]:
    return of_library(
        f"{kind}Model", f"{kind}Config", text_config=TEXT_TOWER, vision_config=PATCHES, **options
    )  # fmt: skip


def detr() -> nn.Module:
    from transformers import ResNetConfig

    options: dict[str, Any] = {**RESNET, "out_features": ["stage2"]}
    backbone = ResNetConfig(**options)
    build = of_library(
        "DetrForObjectDetection", "DetrConfig", **DETR, use_timm_backbone=False, use_pretrained_backbone=False,
        backbone=None, backbone_config=backbone,
    )  # fmt: skip
    return build()


def whisper_encoder() -> nn.Module:
    encoder: nn.Module = of_library("WhisperModel", "WhisperConfig", **WHISPER)().get_submodule("encoder")
    return encoder


def text_and_picture() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, 50, (2, 6)), "pixel_values": torch.randn(2, 3, 16, 16)}


def sound() -> Tensor:
    return torch.randn(2, 200)


def observations() -> Tensor:
    return torch.randn(2, 16, 2)


TRANSFORMERS_SENSES = {
    "transformers_vit": Entry(vision("ViT", **PATCHES, num_labels=5), images(), 0.6, plain=False),
    "transformers_deit": Entry(
        vision("DeiT", "ForImageClassificationWithTeacher", **PATCHES, num_labels=5), images(), 0.6, plain=False
    ),
    "transformers_swin": Entry(vision("Swin", **SWIN), images(), 0.6, plain=False),
    "transformers_swin_cosine": Entry(vision("Swinv2", **SWIN), images(), 0.6, plain=False),
    "transformers_convnext": Entry(vision("ConvNext", **CONVNEXT), images(3, 32), 0.6, plain=False),
    "transformers_segformer": Entry(
        vision("Segformer", "ForSemanticSegmentation", **SEGFORMER), images(3, 32), 0.6, plain=False
    ),
    "transformers_resnet": Entry(vision("ResNet", **RESNET, num_labels=5), images(3, 32), 0.6),
    "transformers_mobilevit": Entry(vision("MobileViT", **MOBILEVIT), images(3, 32), 0.6, plain=False),
    "transformers_regnet": Entry(vision("RegNet", **REGNET), images(3, 32), 0.6),
    "transformers_clip": Entry(two_towers("CLIP", projection_dim=16), text_and_picture, 0.3, plain=False),
    "transformers_siglip": Entry(two_towers("Siglip"), text_and_picture, 0.3, plain=False),
    "transformers_clip_vision": Entry(
        of_library("CLIPVisionModelWithProjection", "CLIPVisionConfig", **PATCHES, projection_dim=16),
        images(), 0.3, plain=False,
    ),
    "transformers_detr": Entry(detr, images(3, 32), 0.4, plain=False),
    "transformers_yolos": Entry(
        of_library(
            "YolosForObjectDetection", "YolosConfig",
            **{**PATCHES, "image_size": [16, 16]}, num_detection_tokens=4, num_labels=5,
            use_mid_position_embeddings=False,
        ),
        images(), 0.3, plain=False,
    ),
    "transformers_wav2vec2": Entry(of_library("Wav2Vec2ForCTC", "Wav2Vec2Config", **SOUND), sound, 0.6, plain=False),
    "transformers_hubert": Entry(
        of_library("HubertForSequenceClassification", "HubertConfig", **SOUND, feat_extract_norm="layer"),
        sound, 0.6, plain=False,
    ),
    "transformers_whisper_encoder": Entry(
        pooled(whisper_encoder),
        lambda: torch.randn(2, 8, 20), 0.6, plain=False,
    ),
    "transformers_whisper": Entry(
        of_library("WhisperForConditionalGeneration", "WhisperConfig", **WHISPER),
        lambda: {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": ids()()}, 0.3, plain=False,
    ),
    "transformers_patchtst": Entry(
        of_library("PatchTSTForPrediction", "PatchTSTConfig", **PATCHTST), observations, 0.5
    ),
    "transformers_patchtsmixer": Entry(
        of_library("PatchTSMixerForPrediction", "PatchTSMixerConfig", **PATCHTSMIXER), observations, 0.2, plain=False
    ),
}  # fmt: skip
