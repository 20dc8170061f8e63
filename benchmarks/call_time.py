"""Where the seconds of a call go, and what a second line on the same model saves: `python -m benchmarks.call_time`.

    python -m benchmarks.call_time [--networks resnet50,bert_base] [--label before] [--out FILE]

Each network has a process of its own, in which two lines run one after the other, with another sparsity. Seconds are
wall time; they are summed by the phase that `progress` tells of, from one message to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import models
from benchmarks.masks import cpu_name, installed

RESULTS = Path(__file__).parent / "results" / "call_time.json"
TOKENS = 128
LINES: tuple[dict[str, Any], ...] = (
    {"pattern": "channel/8", "sparsity": 0.5},
    {"pattern": "channel/8", "sparsity": 0.3},
)


def bert_base() -> tuple[nn.Module, Any]:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig()).train(mode=False), torch.randint(0, 30000, (1, TOKENS))


def gpt2() -> tuple[nn.Module, Any]:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(n_layer=12)).train(mode=False), torch.randint(0, 50000, (1, TOKENS))


def resnet50() -> tuple[nn.Module, Any]:
    return models.ResNet50().eval(), torch.randn(1, 3, 224, 224)


def mobilenet_v2() -> tuple[nn.Module, Any]:
    return models.MobileNetV2().eval(), torch.randn(1, 3, 224, 224)


def yolo11n() -> tuple[nn.Module, Any]:
    from ultralytics.nn.tasks import DetectionModel  # type: ignore[import-not-found, unused-ignore]

    return DetectionModel("yolo11n.yaml", verbose=False).eval(), torch.randn(1, 3, 640, 640)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    each.__name__: each for each in (resnet50, mobilenet_v2, bert_base, gpt2, yolo11n)
}


def measure(name: str) -> list[dict[str, Any]]:
    """Run both lines on one network, and return the seconds of each by phase."""
    torch.manual_seed(0)
    model, example = NETWORKS[name]()
    return [call(model, example, line) for line in LINES]


def call(model: nn.Module, example: Any, line: dict[str, Any]) -> dict[str, Any]:
    """Run one line; return its seconds: the whole, by phase, and of processor time, with the worker's."""
    from jupyter_hwprune import hwprune

    seconds: dict[str, float] = defaultdict(float)
    phase, since = "start", time.perf_counter()

    def tell(name: str, _: str) -> None:
        nonlocal phase, since
        now = time.perf_counter()
        seconds[phase] += now - since
        phase, since = name, now

    begin, used = time.perf_counter(), processor_s()
    run = hwprune(model, example, target="cpu", toolchain="onnxruntime", progress=tell, **line)
    seconds[phase] += time.perf_counter() - since
    assert run.report.timed is not None
    whole, used = time.perf_counter() - begin, processor_s() - used
    return {"line": line, "whole": whole, "processor": used, "phases": dict(seconds)}


def processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet50,mobilenet_v2,bert_base,gpt2")
    parser.add_argument("--label", default="now", help="the key of these rows among the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = {}
    for name in options.networks.split(","):
        command = [sys.executable, "-m", "benchmarks.call_time", "--one", name]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - our own
        rows[name] = json.loads(said.splitlines()[-1])
        for number, line in enumerate(rows[name], 1):
            phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in line["phases"].items())
            whole = f"{line['whole']:.1f} s, {line['processor']:.1f} s of processor time"
            print(f"{name:14} line {number}: {whole} ({phases})", flush=True)
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    known[options.label] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "torch": installed("torch"),
        "networks": rows,
    }
    options.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
