"""Searches held against their goals: `python -m benchmarks.budget [--peer-python PATH]`.

Searches for a share of the dense model's latency, over networks, runtimes and patterns; the run that ends a search is
measured anew in fresh processes, and that measurement is held against the goal. Beside it, torch-pruning's ratio is
bisected on the same cases with as many rounds of compiling and measuring, uniform and global (in the interpreter
given). Writes results/budget.*.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.corners import CALIBRATED_ON
from benchmarks.cpu import where
from benchmarks.models import MODELS, Bert, ResNet18
from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export import write_case
from jupyter_hwprune.measure.candidates import Candidate
from jupyter_hwprune.measure.writing import bench_for
from jupyter_hwprune.report import Report
from jupyter_hwprune.report.words.search import times
from jupyter_hwprune.search import ROUNDS
from jupyter_hwprune.search.plans import EFFORTS
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "budget.json"
REPOSITORY = Path(__file__).parent.parent
OVER, UNDER = 0.03, 0.08  # of the goal: a measurement so far above or below it has landed on it
TARGET = "cpu"


def _images(side: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(1, 3, side, side)


def _bert() -> nn.Module:
    return Bert(layers=12, width=192, heads=6, vocabulary=1000)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "resnet18": (ResNet18, _images(112)),
    "mobilenet_v2": (MODELS["mobilenet_v2"][0], _images(128)),
    "bert_12": (_bert, lambda: torch.randint(0, 1000, (1, 64))),
}
PEERS = ("uniform", "global")


@dataclass(frozen=True)
class Case:
    """One search: the goal is `share` of the dense model's latency in float."""

    network: str
    toolchain: str
    share: float
    pattern: str = "channel/8"
    dtype: str | None = None

    def __str__(self) -> str:
        return f"{self.network}, {self.pattern}{', int8' if self.dtype else ''}"


CASES = tuple(
    Case(network, toolchain, share, pattern, dtype)
    for toolchain in ("onnxruntime", "openvino")
    for network, pattern, dtype, shares in (
        ("resnet18", "channel/8", None, (0.7, 0.5, 0.3)),
        ("mobilenet_v2", "channel/8", None, (0.7, 0.5, 0.3)),
        ("bert_12", "channel/8", None, (0.6, 0.4)),
        ("bert_12", "depth", None, (0.7, 0.5)),
        ("resnet18", "channel/8", "int8", (0.2, 0.1)),
    )
    for share in shares
)


@dataclass(frozen=True)
class Landed:
    """What came out: the time of the measurement at the end over the goal, and what it took."""

    over: float | None
    rounds: int
    seconds: float
    said: str = ""

    @property
    def lands(self) -> bool:
        return self.over is not None and 1 - UNDER <= self.over <= 1 + OVER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--peer-python", help="an interpreter with torch-pruning")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[Case, dict[str, Landed]]] = []
    report = None
    for case in CASES:
        if case.network not in options.networks:
            continue
        ours, report = searched(case)
        found = {"ours": ours}
        if options.peer_python and case.pattern == "channel/8" and case.dtype is None and case.network != "bert_12":
            found |= {who: bisected(case, who, options.peer_python) for who in PEERS}
        rows.append((case, found))
        print(" | ".join(_row(case, found, _peers(rows))), flush=True)
        write(options.out, rows, report)


def searched(case: Case) -> tuple[Landed, Report]:
    """Run the product itself."""
    torch.manual_seed(0)
    build, make_input = NETWORKS[case.network]
    model, x = build().eval(), make_input()
    calib = [make_input() for _ in range(CALIBRATED_ON)]
    asked: dict[str, Any] = {"target": f"{TARGET}:{case.toolchain}", "pattern": case.pattern, "dtype": case.dtype}
    start = time.monotonic()
    report = hwprune(model, x, speedup=1 / case.share, calib=calib, **asked).report
    seconds = time.monotonic() - start
    dense, pruned = times(report)
    over = None if dense is None or pruned is None else pruned / dense / case.share
    search = report.search
    assert search is not None
    said = "" if search.stopped_by is None else f"stopped by the {search.stopped_by}"
    return Landed(over, search.rounds, seconds, said), report


def bisected(case: Case, who: str, python: str) -> Landed:
    """Halve the interval of torch-pruning's ratio, measuring each cut as a round of ours is measured."""
    torch.manual_seed(0)
    build, make_input = NETWORKS[case.network]
    model, example = build().eval(), Example.of(make_input())
    choice = choose(TARGET, toolchain=case.toolchain, pattern="channel/8").for_model_in("float32")
    low, high, start, over, failed = 0.0, 1.0, time.monotonic(), None, ""
    with tempfile.TemporaryDirectory() as made, private_folder() as folder:
        torch.save((model, example.args[0]), Path(made) / "dense.pt")
        bench = bench_for(model, example, choice, folder, lambda *_: None, EFFORTS["round"])
        for number in range(ROUNDS):
            ratio = (low + high) / 2
            command = [python, "-m", "benchmarks.budget_peer", made, who, str(ratio)]
            ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603
            if ended.returncode:
                failed = ended.stderr.strip().splitlines()[-1][:120]
                high = ratio
                continue
            cut = torch.load(Path(made) / "pruned.pt", weights_only=False)
            case_of = write_case(cut, example, choice, folder, f"cut-{number}", lambda *_: None)
            [found] = bench.measure([Candidate(case_of, (), f"{who}-{number}", channels=True)])
            if found.timed is None:
                break
            own = found.timed.pruned_ms / found.timed.dense_ms / case.share
            if over is None or (own <= 1 and (over > 1 or own > over)) or (own > 1 and over > 1 and own < over):
                over = own
            low, high = (ratio, high) if own > 1 else (low, ratio)
    return Landed(over, ROUNDS, time.monotonic() - start, failed)


def write(path: Path, rows: list[tuple[Case, dict[str, Landed]]], report: Report) -> None:
    path.parent.mkdir(exist_ok=True)
    data = [{"case": asdict(case), "found": {who: asdict(own) for who, own in found.items()}} for case, found in rows]
    machine: dict[str, Any] = {"versions": report.versions, "cpu": report.machine and report.machine.cpu}
    path.write_text(json.dumps({"machine": machine, "rows": data}, indent=1) + "\n")
    path.with_suffix(".md").write_text("\n".join(_told(rows, report)) + "\n")


def _told(rows: list[tuple[Case, dict[str, Landed]]], report: Report) -> Iterator[str]:
    yield f"{where([report])}; one thread, a batch of one. Time of the measurement at the end, as a share of the goal."
    yield ""
    for who in ("ours", *PEERS):
        own = [found[who] for _, found in rows if who in found]
        if own:
            name = who if who == "ours" else f"torch-pruning {who}, bisected"
            landed = sum(each.lands for each in own)
            yield f"- {name}: {landed} of {len(own)} within {UNDER:.0%} below and {OVER:.0%} above the goal"
    yield ""
    peers = _peers(rows)
    head = ("case", "toolchain", "goal", "ours", "rounds", "seconds", *(f"torch-pruning {who}" for who in peers), "")
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for case, found in rows:
        yield "| " + " | ".join(_row(case, found, peers)) + " |"


def _peers(rows: list[tuple[Case, dict[str, Landed]]]) -> list[str]:
    return [who for who in PEERS if any(who in found for _, found in rows)]


def _row(case: Case, found: dict[str, Landed], peers: list[str]) -> tuple[str, ...]:
    ours, goal = found["ours"], f"{case.share:.0%} of dense"
    theirs = [_over(found[who]) if who in found else "" for who in peers]
    return (str(case), case.toolchain, goal, _over(ours), str(ours.rounds), f"{ours.seconds:.0f}", *theirs, ours.said)


def _over(landed: Landed) -> str:
    return "not measured" if landed.over is None else f"{landed.over:.1%}"


if __name__ == "__main__":
    main()
