"""Prune three generations of YOLO from their YAML files, as they come: `python -m benchmarks.yolo`.

They need a Python with `ultralytics` and `torchvision` beside this project's packages. torchvision's compiled
operators, which only the detections' clean-up after the network uses, may be missing: their names are then made known
to torch, so that the package can be imported. `--timm N` adds N of timm's networks, one of each family, the smallest
first, of which the channels are cut and proven without measuring.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.masks import cpu_name, installed
from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK
from jupyter_hwprune.core.errors import HwpruneError

RESULTS = Path(__file__).parent / "results" / "yolo.json"
YOLOS = ("yolov8n", "yolo11n", "yolo12n")
SIDE = 320
SMALL = 6_000_000  # parameters of the largest network of timm that is tried


def detector(name: str) -> nn.Module:
    """Build a detector from its YAML file, with random weights."""
    know_operators()
    from ultralytics.nn.tasks import DetectionModel  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    model: nn.Module = DetectionModel(f"{name}.yaml", verbose=False).eval()
    return model


def know_operators() -> None:
    """Make torchvision's operators known by name where its compiled ones do not load."""
    try:
        import torchvision  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            library.define(  # type: ignore[no-untyped-call]
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        KEPT.append(library)


KEPT: list[Any] = []  # torch forgets the operators of a library that is gone


def families(count: int) -> Iterator[tuple[str, nn.Module, tuple[int, ...]]]:
    """Yield the smallest network of each of timm's families."""
    know_operators()
    import timm  # type: ignore[import-not-found, unused-ignore]

    seen: set[str] = set()
    for name in timm.list_models(exclude_filters=["*clip*", "*dino*", "test_*"]):
        family = timm.models.model_entrypoint(name).__module__
        if family in seen or len(seen) >= count:
            continue
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
        if size < SMALL:
            seen.add(family)
            torch.manual_seed(0)
            model = timm.create_model(name).eval()
            yield name, model, (1, *model.default_cfg.get("input_size", (3, 224, 224)))


def pruned(model: nn.Module, shape: tuple[int, ...], *, measured: bool) -> dict[str, Any]:
    """Halve the channels; return what went, what stayed whole and what that gained, or the error."""
    options: dict[str, Any] = {"target": "cpu", "toolchain": "onnxruntime"} if measured else {"target": "tpu-v5e"}
    begin = time.perf_counter()
    try:
        effort = replace(QUICK, measure_s=4.0)
        report = hwprune(model, torch.rand(shape), pattern="channel/8", sparsity=0.5, effort=effort, **options).report
    except HwpruneError as error:
        return {"said": str(error)[:300]}
    found: dict[str, float | int | None] = {
        "seconds": round(time.perf_counter() - begin, 1),
        "gone": 1 - report.totals.pruned_weights / report.totals.weights,
        "whole": len(report.skipped),
    }
    if report.timed is not None and report.check is not None:
        found |= {"speedup": report.deciding.speedup, "output_error": report.check.pruned_error}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timm", type=int, default=0, metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    for name in YOLOS:
        rows[name] = pruned(detector(name), (1, 3, SIDE, SIDE), measured=True)
        print(name, rows[name], flush=True)
    for name, model, shape in families(options.timm):
        rows[f"timm {name}"] = pruned(model, shape, measured=False)
        print(name, rows[f"timm {name}"], flush=True)
    data = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "packages": {name: installed(name) for name in ("torch", "onnxruntime", "ultralytics", "timm", "torchvision")},
        "rows": rows,
    }
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(data) + "\n")
    print(table(data))


def table(data: dict[str, Any]) -> str:
    lines = ["| network | weights gone | layers left whole | speed-up | output off by | s |", "| --- " * 6 + "|"]
    for name, row in data["rows"].items():
        if "said" in row:
            lines.append(f"| {name} | refused: {row['said'].replace('|', '/')} | | | | |")
            continue
        speed = f"{row['speedup']:.2f}x" if row.get("speedup") else "not measured"
        error = f"{row['output_error']:.0e}" if "output_error" in row else "not measured"
        lines.append(f"| {name} | {row['gone']:.0%} | {row['whole']} | {speed} | {error} | {row['seconds']} |")
    packages = ", ".join(f"{name} {version}" for name, version in data["packages"].items() if version)
    notes = f"- {data['cpu']}, {packages}; {data['created']}; half of the channels, channel/8, one thread."
    return "\n".join([*lines, "", notes])


if __name__ == "__main__":
    main()
