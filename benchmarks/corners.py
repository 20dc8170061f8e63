"""Dense and pruned, in float and in int8, on this CPU: `python -m benchmarks.corners`.

Three well-known shapes and a pitch tracker with random weights, and a small network trained here on digits, whose score
is taken on the compiled models. Channels are halved. Prints a table, and writes JSON beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor, nn

from benchmarks.channels_net import Net, accuracy, digits, train
from benchmarks.cpu import provenance, where
from benchmarks.models import MODELS
from jupyter_hwprune.report import Report
from jupyter_hwprune.report.words import words_of
from jupyter_hwprune.report.words.corners import HEAD

RESULTS = Path(__file__).parent / "results" / "corners.json"
TOOLCHAINS = ("onnxruntime", "openvino")
CALIBRATED_ON = 16  # inputs
PITCH_TRACKER, DIGITS = "pitch_tracker", "digits"


class PitchTracker(nn.Module):
    """The shape of CREPE (Kim et al. 2018, arXiv:1802.06182): six convolutions over 1024 samples, 360 pitches."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        c_in = 1
        for width, kernel, stride in ((1024, 512, 4), *((each, 64, 1) for each in (128, 128, 128, 256, 512))):
            before = (kernel - stride) // 2
            pad = nn.ConstantPad1d((before, kernel - stride - before), 0.0)
            layers += [pad, nn.Conv1d(c_in, width, kernel, stride), nn.ReLU(), nn.BatchNorm1d(width), nn.MaxPool1d(2)]
            c_in = width
        self.layers, self.pitches = nn.Sequential(*layers), nn.Linear(4 * c_in, 360)

    def forward(self, frames: Tensor) -> Tensor:  # [B, 1024]
        found: Tensor = torch.sigmoid(self.pitches(self.layers(frames[:, None]).flatten(1)))
        return found


RANDOM: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    **MODELS,
    PITCH_TRACKER: (PitchTracker, lambda batch: torch.randn(batch, 1024)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*RANDOM, DIGITS]
    parser.add_argument("--models", nargs="*", default=names, choices=names)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)  # torch's idle threads would otherwise spin on cores that others need
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyter_hwprune")
    reports: list[Report] = []
    for name in options.models:
        for toolchain in TOOLCHAINS:
            report = trained(shell, toolchain) if name == DIGITS else untrained(shell, name, toolchain)
            print(table([report]), flush=True)
            for reason in report.reasons[:4]:
                print(f"    {reason}", flush=True)
            reports.append(report)
            write(options.out, reports)
    print(f"Written to {options.out} and beside it")


def untrained(shell: Any, name: str, toolchain: str) -> Report:
    """Run the magic itself on a network with random weights."""
    torch.manual_seed(0)
    build, make_input = RANDOM[name]
    shell.push({name: build(), "x": make_input(1), "calibration": [make_input(1) for _ in range(CALIBRATED_ON)]})
    line = f"{name} --input x --target intel-cpu:{toolchain} --pattern channel/8 --dtype int8 --calib calibration"
    report: Report = shell.run_line_magic("hwprune", line).report
    shell.drop_by_id({name: shell.user_ns[name]})
    return report


def trained(shell: Any, toolchain: str) -> Report:
    """Run the magic with a cell that trains the pruned network, and score it on digits that no training has seen."""
    torch.manual_seed(0)
    few, held_out = digits(0)
    net = Net()
    train(net, few, 60, 3e-3, 0)
    images = few[0]
    given = {"x": images[:16], "calibration": [images[start : start + 16] for start in range(0, 128, 16)]}
    again = partial(train, data=few, epochs=30, rate=1e-3, seed=1)
    shell.push({DIGITS: net, **given, "accuracy": partial(accuracy, data=held_out), "again": again})
    line = f"{DIGITS} --input x --target intel-cpu:{toolchain} --pattern channel/8 --dtype int8 --calib calibration"
    report: Report = shell.run_cell_magic("hwprune", f"{line} --eval accuracy({DIGITS})", f"again({DIGITS})").report
    return report


def write(path: Path, reports: list[Report]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"runs": [provenance(report) for report in reports]}, indent=1) + "\n")
    fast = next((each.corners.fast_int8 for each in reports if each.corners is not None), None)
    chip = "" if fast is None else f"; int8 instructions: {', '.join(fast) or 'none'}"
    path.with_suffix(".md").write_text(f"{where(reports)}{chip}\n\n{table(reports)}\n")


def table(reports: list[Report]) -> str:
    head = ("network", "toolchain", *HEAD)
    rows = [row for report in reports for row in _rows(report)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, tuple("---" for _ in head), *rows))


def _rows(report: Report) -> list[tuple[str, ...]]:
    named = (report.request.model, report.request.toolchain)
    found = words_of(report).corners
    if found is None:
        return [(*named, "not measured", *[""] * 6)]
    rows = [dict(zip(found.head, row, strict=True)) for row in found.rows]
    return [(*named, *(row.get(name, "") for name in HEAD)) for row in rows]


if __name__ == "__main__":
    main()
