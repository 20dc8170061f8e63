"""How well a search's table foretells a model's time: `python -m benchmarks.fidelity`.

Fits the table to the copies that a search measures, and holds it against plans with random widths, compiled and
timed in the same interleaved calls: as it is, and corrected by another measured plan, as the rounds of a search do.
Writes results/fidelity.*.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.budget import NETWORKS, TARGET
from benchmarks.masks import cpu_name
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.measure.rating import Settled
from jupyter_hwprune.measure.writing import bench_for, candidate
from jupyter_hwprune.pruning import prune
from jupyter_hwprune.pruning.channels import Channels
from jupyter_hwprune.search.moves import UNIFORM_SHARES
from jupyter_hwprune.search.plans import EFFORTS
from jupyter_hwprune.search.reading import Reading
from jupyter_hwprune.search.space import Space
from jupyter_hwprune.search.table import Sample, time_table
from jupyter_hwprune.search.widths import RANDOM_SAMPLES
from jupyter_hwprune.toolchains.process import private_folder

RESULTS = Path(__file__).parent / "results" / "fidelity.json"
TOOLCHAINS = ("onnxruntime", "openvino")
CONVOLUTIONAL = ("resnet18", "mobilenet_v2")
PLANS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(CONVOLUTIONAL), choices=CONVOLUTIONAL)
    parser.add_argument("--plans", type=int, default=PLANS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.networks:
        for toolchain in TOOLCHAINS:
            rows.append({"network": name, "toolchain": toolchain} | errors(name, toolchain, options.plans))
            print(_row(rows[-1]), flush=True)
            options.out.parent.mkdir(exist_ok=True)
            options.out.write_text(json.dumps({"cpu": cpu_name(), "rows": rows}, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(_table(rows))


def errors(name: str, toolchain: str, plans: int) -> dict[str, Any]:
    """Return the relative errors of the table on random plans, before and after a correction by another plan."""
    torch.manual_seed(0)
    build, make_input = NETWORKS[name]
    model, example = build().eval(), Example.of(make_input())
    choice = choose(TARGET, toolchain=toolchain, pattern="channel/8").for_model_in("float32")
    channels = Channels.of(model, example)
    space = Space.of(channels, Channel(8), ())
    source = random.Random(1)  # noqa: S311 - the same plans in each run, no secret

    def mixed() -> dict[str, int]:
        return {each: source.choice(own) for each, own in space.widths.items()}

    known = [space.nearest(dict.fromkeys(space.sets, 1 - share)) for share in UNIFORM_SHARES]
    known += [mixed() for _ in range(RANDOM_SAMPLES)]
    asked = [*known, *(mixed() for _ in range(plans))]
    with private_folder() as folder:
        bench = bench_for(model, example, choice, folder, lambda *_: None, EFFORTS["table"])
        candidates = []
        for number, plan in enumerate(asked):
            settled = Settled(prune(model, example, space.planned(plan, channels), channels=channels), choice)
            candidates.append(candidate(bench, model, settled, example, f"plan-{number}"))
        found = bench.measure(candidates)
        samples = [
            Sample(space.kept(plan), Reading.of(each, own.case.model, bench.dense.model))
            for plan, each, own in zip(asked, found, candidates, strict=True)
        ]
    table = time_table(space.layers, space.weights(), samples[: len(known)])
    assert table is not None
    time = table.whole()
    ratios = [(each.reading.relative or 1.0) / time.of(each.kept) for each in samples[len(known) :]]
    corrected = [own / before for before, own in zip([ratios[-1], *ratios[:-1]], ratios, strict=True)]
    return {"before": [abs(each - 1) for each in ratios], "after": [abs(each - 1) for each in corrected]}


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("network", "toolchain", "plans", "median error", "largest", "median, corrected", "largest, corrected")
    lines = [f"{cpu_name()}; one thread, a batch of one, the time of plans with random widths.", ""]
    lines += ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |", *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(row: dict[str, Any]) -> str:
    told = [f"{of(row[when]):.1%}" for when in ("before", "after") for of in (median, max)]
    return "| " + " | ".join([row["network"], row["toolchain"], str(len(row["before"])), *told]) + " |"


if __name__ == "__main__":
    main()
