"""Networks of the zoo through a toolchain's converter: `python -m benchmarks.edge_zoo --toolchain NAME`.

Half the channels go, in multiples of 4, and the dense and the pruned model are converted, run where the chip is here,
and compared with torch. A network that does not come through has the first words of the error.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.masks import cpu_name
from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import HwpruneError
from tests.architectures import ARCHITECTURES

RESULTS = Path(__file__).parent / "results"
NETWORKS = (
    *("vgg", "resnet_basic", "resnext_grouped", "densenet", "inception", "convnext", "groupnorm", "mobilenet_v2"),
    *("mobilenet_v3_squeeze_excite", "shufflenet", "unet", "super_resolution_pixel_shuffle", "resnet_3d"),
    *("temporal_convolution", "autoencoder", "vit_fused_qkv", "swin_windows", "torch_transformer_encoder", "gru"),
    *("lstm_stacked_bidirectional", "mlp_mixer", "crnn", "transformers_bert", "transformers_gpt2"),
)
QUICK = Effort(min_rounds=3, max_rounds=3, measure_s=0.1, profile=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toolchain", required=True)
    parser.add_argument("--target", default="cpu", help="a target that the toolchain serves")
    parser.add_argument("--quick", action="store_true", help="the first three networks, and nothing is written")
    options = parser.parse_args()
    data: dict[str, Any] = {"toolchain": options.toolchain, "target": options.target, "machine": cpu_name()}
    data |= {"versions": {}, "created": datetime.now(UTC).strftime("%Y-%m-%d"), "networks": {}}
    path = RESULTS / f"edge_zoo_{options.toolchain}.json"
    for name in NETWORKS[:3] if options.quick else NETWORKS:
        data["networks"][name], versions = converted(name, options.target, options.toolchain)
        data["versions"] = versions or data["versions"]
        print(name, data["networks"][name], flush=True)
        if not options.quick:
            path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            path.with_suffix(".md").write_text(table(data), encoding="utf-8")
    print(table(data))


def converted(name: str, target: str, toolchain: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what came of one network, with the versions that were at work."""
    entry = ARCHITECTURES[name]
    torch.manual_seed(0)
    since = time.perf_counter()
    try:
        model, example = entry.build().eval(), entry.example()
        report = hwprune(
            model, example, target=target, toolchain=toolchain, pattern="channel/4", effort=QUICK, timeout_s=300
        ).report
    except HwpruneError as error:
        return {"error": str(error), "s": round(time.perf_counter() - since, 1)}, {}
    seconds = round(time.perf_counter() - since, 1)
    if report.check is None:
        return {"error": str(report.measurement.evidence.reason), "s": seconds}, {}
    own = {key: value for key, value in report.versions.items() if key not in {"python", "numpy"}}
    return {"dense": report.check.dense_error, "pruned": report.check.pruned_error, "s": seconds}, own


def table(data: dict[str, Any]) -> str:
    rows = data["networks"]
    good = sum("error" not in each for each in rows.values())
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    lines = [
        f"{good} of {len(rows)} networks are right in {data['toolchain']} for {data['target']}, dense and pruned.",
        "",
        f"{data['machine']}, {data['created']}; {versions}",
        "",
        "| network | dense, difference | pruned, difference | s | error |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        errors = [f"{row[key]:.1e}" if key in row else "" for key in ("dense", "pruned")]
        said = " ".join(row.get("error", "").split())[:300].replace("|", "\\|")
        lines.append(f"| {name} | {errors[0]} | {errors[1]} | {row['s']} | {said} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
