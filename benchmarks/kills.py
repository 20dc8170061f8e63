"""A search killed ten times at random moments, which goes on each time: `python -m benchmarks.kills`.

The search is a process with a cache of its own. It is killed (SIGKILL) at a random moment, of the first tenth of an
unbroken search's time, then of the first two tenths, and so on, and started again with what is on disk; after ten kills
it goes on to its end. Where it ends before its moment, it is put back to the kill before and a nearer moment is drawn,
and what it ended as is compared all the same.
Where a compiler estimates, nothing is measured: every point tried has to be that of the unbroken search, to the bit.
Where a runtime times, no time comes twice: every reading that was on disk at a kill has to be in the report to the bit,
and the plan is shown beside those of two unbroken searches. Prints a table, writes JSON beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.masks import cpu_name
from jupyter_hwprune import hwprune
from jupyter_hwprune.report import Report, Search

RESULTS = Path(__file__).parent / "results" / "kills.json"
REPOSITORY = Path(__file__).parents[1]
TARGETS = {"rk3588": "estimated", "cpu:onnxruntime": "timed", "cpu:openvino": "timed"}
SPEEDUP = 1.8
HEAD = (
    "target",
    "times are",
    "kills",
    "in the table, a round, elsewhere",
    "ended after kills",
    "readings lost",
    "all points as unbroken",
    "plans unbroken",
    "plans after kills",
)


class Net(nn.Module):
    """Wide enough for the multiples of an NPU's kernels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 128, 128, 256)
        pairs = enumerate(itertools.pairwise(widths))
        made = [(nn.Conv2d(a, b, 3, 2 if i else 1, 1), nn.BatchNorm2d(b), nn.ReLU()) for i, (a, b) in pairs]
        self.body = nn.Sequential(*(layer for each in made for layer in each))
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(x).mean((2, 3)))
        return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs=2, metavar=("TARGET", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        search_in(options.child[0], Path(options.child[1]))
        return
    found = {target: killed(target, options.kills, options.seed) for target in options.targets}
    data = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "speedup": SPEEDUP,
        "seed": options.seed,
        "targets": found,
    }
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    shown = "\n".join(told(data))
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")


def search_in(target: str, folder: Path) -> None:
    """Search, in the process that is killed: notes what it does, and writes the report at the end."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, x = Net().eval(), torch.randn(1, 3, 32, 32)

    def note(phase: str, detail: str) -> None:
        (folder / "doing").write_text(f"{phase}: {detail}")

    report = hwprune(model, x, target=target, speedup=SPEEDUP, progress=note).report
    (folder / "report.json").write_text(report.to_json())


def killed(target: str, kills: int, seed: int) -> dict[str, Any]:
    """Search twice unbroken, then with so many kills."""
    unbroken, whole = [], 0.0
    for _ in range(2):
        with tempfile.TemporaryDirectory() as own:
            start = time.monotonic()
            unbroken.append(ended(target, Path(own), None))
            whole = time.monotonic() - start
    chance, rest = random.Random(seed), whole  # noqa: S311 - moments of kills
    done, ends = list[dict[str, Any]](), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as made:
        folder, before = (Path(made) / name for name in ("now", "before"))
        folder.mkdir()
        while len(done) < kills or not any(each["kills"] == kills for each in ends):
            shutil.rmtree(before, ignore_errors=True)
            shutil.copytree(folder, before)
            most = min(rest, whole * (len(done) + 1) / kills)
            moment = chance.uniform(0.0, most) if len(done) < kills else None
            start = time.monotonic()
            search = ended(target, folder, moment)
            if search is None:
                doing = folder / "doing"
                said = doing.read_text() if doing.exists() else "start"
                done.append({"moment_s": round(moment or 0.0, 2), "doing": said, "on_disk": len(readings(folder))})
                print(target, done[-1], flush=True)
                continue
            points = {(each.time, each.dense_time) for each in search.points}
            ends.append({"kills": len(done), "lost": len(readings(before) - points), "search": asdict(search)})
            print(target, f"ended after {len(done)} kills, {search.remembered} remembered", flush=True)
            rest = min(rest, time.monotonic() - start)
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
    return {
        "knows": TARGETS[target],
        "unbroken_s": round(whole, 1),
        "unbroken": [asdict(each) for each in unbroken if each is not None],
        "kills": done,
        "ends": ends,
    }


def ended(target: str, folder: Path, moment: float | None) -> Search | None:
    """Start or go on with the search in a folder; return it if it ends before the moment, at which it is killed."""
    (folder / "doing").unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.kills", "--child", target, str(folder)]
    caches = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    process = subprocess.Popen(command, cwd=REPOSITORY, env=caches, start_new_session=True)  # noqa: S603
    try:
        if process.wait(timeout=moment):
            raise SystemExit(f"The search on {target} failed.")
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return None
    search = Report.from_json((folder / "report.json").read_text()).search
    assert search is not None
    return search


def readings(folder: Path) -> set[tuple[float, float]]:
    """Return the times, pruned and dense, that are on disk; a line that was cut short is none."""
    found = set()
    for file in folder.glob("cache/**/searches/*.jsonl"):
        for line in file.read_text().splitlines():
            if line.startswith("{") and line.endswith("}") and (row := json.loads(line))["part"] != "scan":
                found.add((row["data"]["pruned"], row["data"]["dense"]))
    return found


def told(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['cpu']}; a search for {data['speedup']}x over a small convolutional network."
    yield ""
    yield "| " + " | ".join(HEAD) + " |"
    yield "| --- " * len(HEAD) + "|"
    for target, own in data["targets"].items():
        yield "| " + " | ".join(_row(target, own)) + " |"


def _row(target: str, own: dict[str, Any]) -> Iterator[str]:
    ends, doing = own["ends"], [each["doing"] for each in own["kills"]]
    yield target
    yield own["knows"]
    yield str(len(doing))
    rounds = sum(said.startswith("search: round") for said in doing)
    table = sum(said.startswith("search: ") for said in doing) - rounds
    yield f"{table}, {rounds}, {len(doing) - table - rounds}"
    yield ", ".join(str(each["kills"]) for each in ends)
    yield str(sum(each["lost"] for each in ends))
    same = sum(each["search"]["points"] == own["unbroken"][0]["points"] for each in ends)
    yield f"{same} of {len(ends)}" if own["knows"] == "estimated" else "timed anew"
    yield ", ".join(_plan(each) for each in own["unbroken"])
    yield ", ".join(_plan(each["search"]) for each in ends)


def _plan(search: dict[str, Any]) -> str:
    chosen = next(each for each in search["points"] if each["chosen"])
    return f"{chosen['kept']:.0%} of the weights at {chosen['dense_time'] / chosen['time']:.2f}x"


if __name__ == "__main__":
    main()
