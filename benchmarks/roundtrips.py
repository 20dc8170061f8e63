"""Pruned transformers models, written and read back by their own library: `python -m benchmarks.roundtrips`.

Models with random weights from small configurations, each without channels, without blocks, and without both. A pruned
model is written by `save_pretrained` and read by `from_pretrained`, and both are held together: their weights, their
outputs, and the tokens that they generate greedily with and without a cache. `--hwprune` prunes by the whole of
`hwprune`, with export and measurement, and not by its engine alone. `--timm` adds networks of timm, which its
`create_model` builds anew by the arguments found, where they say the shape; that needs timm beside this project's
packages. Prints a table, writes JSON beside it.

    python -m benchmarks.roundtrips --models --timm --out benchmarks/results/roundtrips_timm.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.masks import cpu_name, installed
from benchmarks.yolo import know_operators
from jupyter_hwprune import HwpruneError, hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import parse_pattern
from jupyter_hwprune.pruning import plan_and_prune
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.configuration import settings_of
from jupyter_hwprune.pruning.method import Method

RESULTS = Path(__file__).parent / "results" / "roundtrips.json"
TOKENS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 128}
TEXT: dict[str, Any] = {**SIZES, "vocab_size": 100, **TOKENS}
GROUPED: dict[str, Any] = {**TEXT, "num_key_value_heads": 4, "use_cache": False}
GPT2: dict[str, Any] = {"vocab_size": 100, "n_embd": 64, "n_layer": 4, "n_head": 8, "n_positions": 64, **TOKENS}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "BERT": ("BertForSequenceClassification", "BertConfig", TEXT),
    "GPT-2": ("GPT2LMHeadModel", "GPT2Config", {**GPT2, "use_cache": False}),
    "Llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED),
    "Llama, tied": ("LlamaForCausalLM", "LlamaConfig", {**GROUPED, "tie_word_embeddings": True}),
    "Mistral": ("MistralForCausalLM", "MistralConfig", {**GROUPED, "head_dim": 8}),
    "Qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED),
    "Qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**GROUPED, "head_dim": 8}),
    "ViT": ("ViTForImageClassification", "ViTConfig", {**SIZES, "image_size": 16, "patch_size": 8}),
}
PATTERNS = {"channel/8": 0.5, "depth": 0.5, "depth+channel/8": 0.5}
TIMM = {
    "vit_tiny_patch16_224": ("channel", "depth", "depth+channel"),
    "swin_s3_tiny_224": ("channel",),
    "convnext_atto": ("channel",),
    "resnet18": ("channel",),
    "mobilenetv3_small_100": ("channel",),
}
NEW_TOKENS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--hwprune", action="store_true", help="prune by the whole of hwprune")
    parser.add_argument("--timm", action="store_true", help="also prune networks of timm")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.timm:
        know_operators()  # before transformers finds torchvision
    rows = []
    asked = [(name, pattern) for name in options.models for pattern in PATTERNS]
    asked += [(name, pattern) for name, patterns in TIMM.items() for pattern in patterns if options.timm]
    for name, pattern in asked:
        rows.append(tried(name, pattern, whole=options.hwprune))
        print(rows[-1], flush=True)
    data = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in ("torch", "transformers", "safetensors", "timm")},
        "pruned_by": "hwprune" if options.hwprune else "the engine alone",
        "rows": rows,
    }
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    shown = "\n".join([table(rows), "", *notes(data)])
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")


def tried(name: str, pattern: str, *, whole: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name, "pattern": pattern}
    start = time.process_time()
    try:
        row |= round_trip(name, pattern, whole=whole)
    except HwpruneError as error:
        row |= {"verdict": "refused", "detail": f"{type(error).__name__}: {error}"}
    except Exception as error:  # noqa: BLE001 - that it raised, and how, is the result
        traceback.print_exc()
        row |= {"verdict": "raised", "detail": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {**row, "cpu_s": round(time.process_time() - start, 1)}


def round_trip(name: str, pattern: str, *, whole: bool) -> dict[str, Any]:
    model, inputs = of_timm(name) if name in TIMM else built(name)
    pruned = pruned_by(model, inputs, pattern, whole=whole)
    if name in TIMM:
        import timm  # type: ignore[import-not-found, unused-ignore]

        said = vars(pruned).get("model_args")
        if said is None:
            return {"verdict": "told", "detail": "no arguments of create_model say these widths"}
        again = timm.create_model(name, **said).eval()
        again.load_state_dict(pruned.state_dict(), strict=True)
    else:
        said = {each.name: each.value for each in settings_of(model, pruned)}
        with tempfile.TemporaryDirectory() as folder:
            pruned.save_pretrained(folder)
            again = type(pruned).from_pretrained(folder).eval()
    mine, theirs = pruned.state_dict(), again.state_dict()
    equal = list(mine) == list(theirs) and all(torch.equal(mine[key], theirs[key]) for key in mine)
    off = difference(pruned, again, inputs)
    tokens = generated(pruned, again, inputs) if name not in TIMM and pruned.can_generate() else None
    same = tokens is None or len(set(tokens)) == 1
    before, after = (sum(p.numel() for p in each.parameters()) for each in (model, pruned))
    return {
        "verdict": "the same" if equal and off == 0 and same else "not the same",
        "configuration": said,
        "gone": round(1 - after / before, 3),
        "weights_equal": equal,
        "output_off_by": off,
        "tokens": None if tokens is None else sorted(set(tokens)),
        "tokens_equal": None if tokens is None else same,
    }


def built(name: str) -> tuple[Any, dict[str, Tensor]]:
    import transformers

    kind, config, options = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(**options)).eval()
    inputs = (
        {"pixel_values": torch.randn(2, 3, 16, 16)} if name == "ViT" else {"input_ids": torch.arange(3, 27).view(2, 12)}
    )
    return model, inputs


def of_timm(name: str) -> tuple[Any, dict[str, Tensor]]:
    import timm  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    return model, {"x": torch.rand(1, *model.default_cfg["input_size"])}


def pruned_by(model: Any, inputs: dict[str, Tensor], pattern: str, *, whole: bool) -> Any:
    share = PATTERNS.get(pattern, 0.5)
    if whole:
        run = hwprune(
            model, inputs, target="cpu", toolchain="onnxruntime", pattern=pattern, sparsity=share, keep_all=True,
            effort=QUICK,
        )  # fmt: skip
        return run.model
    example = Example.of(inputs)
    method = Method(calibration=Calibration.of(example, model, example))
    return plan_and_prune(model, example, parse_pattern(pattern), share, method).model


def difference(pruned: Any, again: Any, inputs: dict[str, Tensor]) -> float:
    """Return the largest difference of the outputs by their largest value, 0 where they are equal to the bit."""
    with torch.no_grad():
        mine, theirs = (
            found if isinstance(found := each(**inputs), Tensor) else found.logits for each in (pruned, again)
        )
    return 0.0 if torch.equal(mine, theirs) else float((mine - theirs).abs().max() / mine.abs().max())


def generated(pruned: Any, again: Any, inputs: dict[str, Tensor]) -> list[str]:
    """Return the tokens of the pruned model and the one that was read, each without and with a cache."""
    start = inputs["input_ids"][:, :3]
    how: dict[str, Any] = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
    how["attention_mask"] = torch.ones_like(start)
    ways = [(each, cache) for each in (pruned, again) for cache in (False, True)]
    return [json.dumps(each.generate(start, **how, use_cache=cache).tolist()) for each, cache in ways]


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| model | pattern | gone | its configuration says | weights | outputs | tokens |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    return "\n".join([*lines, *(f"| {row['model']} | {row['pattern']} | {shown(row)} |" for row in rows)])


def shown(row: dict[str, Any]) -> str:
    if "detail" in row:
        return f" | {row['verdict']}: {row['detail'].replace('|', '/')[:160]} | | | "
    says = ", ".join(f"{name} {value}" for name, value in row["configuration"].items())
    weights = "equal" if row["weights_equal"] else "not equal"
    outputs = "equal to the bit" if row["output_off_by"] == 0 else f"off by {row['output_off_by']:.0e}"
    tokens = {None: "makes none", True: "the same", False: "not the same"}[row["tokens_equal"]]
    return f"{row['gone']:.0%} | {says} | {weights} | {outputs} | {tokens}"


def notes(data: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {found}" for name, found in data["versions"].items() if found)
    rows = data["rows"]
    same, told = (sum(row["verdict"] == verdict for row in rows) for verdict in ("the same", "told"))
    more = f", of {told} the run says that its library cannot say them" if told else ""
    return [
        f"- {same} of {len(rows)} come back the same{more}; pruned by {data['pruned_by']}.",
        f"- {data['cpu']}, {data['cores']} cores; Python {data['python']}, {versions}; {data['created']}.",
        f"- tokens: {NEW_TOKENS} new ones, by the pruned model and the one that was read, without and with a cache.",
    ]


if __name__ == "__main__":
    main()
