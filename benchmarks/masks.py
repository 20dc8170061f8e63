"""How fast 2:4 masks are made on this CPU, ours against peers: `python -m benchmarks.masks`.

Every round calls each contestant once, in a shuffled order, on the same weight; a ratio pairs the calls of one round.
Each thread count gets a fresh process, and each memory figure one too. Prints tables, writes JSON beside them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jupyter_hwprune.pruning.importance import magnitude
from jupyter_hwprune.pruning.masks import keep_n_of_m

RESULTS = Path(__file__).parent / "results" / "masks.json"
SHAPES = ((4096, 4096), (14336, 4096))
THREADS = (1, 2)
PACKAGES = ("jupyter-hwprune", "torch", "numpy", "nvidia-modelopt")
PEERS = "pip install -c constraints.txt -r benchmarks/peers.txt"
COLUMNS = ("job", "shape", "threads", "who", "seconds", "min-max", "times ours", "min-max", "extra MB", "equal")

Call = Callable[[], Tensor]  # what is timed; its result is not zero where a weight stays


@dataclass(frozen=True)
class Contestant:
    """`ready` takes the weight, does what is not timed, and returns the call that is."""

    job: str  # "mask": a mask from a weight; "step": the pruned weight in its place
    name: str
    ready: Callable[[Tensor], Call]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calm", type=float, default=0.1, help="wait until others keep fewer cores busy than this")
    parser.add_argument("--patience", type=float, default=120, help="and for no longer than this many seconds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(*options.child)))
        return
    blocks = [
        measure(shape, threads, options.rounds, wait_for_calm(options.calm, options.patience))
        for shape in SHAPES
        for threads in THREADS
    ]
    weigh(blocks)
    data = {**provenance(), "rounds": options.rounds, "blocks": blocks}
    shown = "\n".join([where(data), "", table(data), "", *verdicts(data), "", *agreement(data), "", *notes(data)])
    print(shown)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(data, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(shown + "\n")
    print(f"Written to {options.out} and beside it")


def measure(shape: tuple[int, int], threads: int, rounds: int, others: float) -> dict[str, Any]:
    """Time all contestants in one process."""
    print(f"{shape}, threads: {threads}, cores busy before: {others:.2f}", file=sys.stderr, flush=True)
    timed = in_child(threads, "time", *map(str, shape), str(rounds))
    return {"shape": shape, "threads": threads, "cores_busy_before": others, "load_after": os.getloadavg()[0], **timed}


def weigh(blocks: list[dict[str, Any]]) -> None:
    """Add each contestant's memory, measured in its own process, to the rows with the first number of threads."""
    for block in blocks:
        for row in block["rows"] if block["threads"] == THREADS[0] else ():
            found = in_child(THREADS[0], "memory", *map(str, block["shape"]), row["job"], row["name"])
            row["extra_mb"] = found["extra_mb"]


def in_child(threads: int, *arguments: str) -> dict[str, Any]:
    """Run this module in a fresh interpreter that never had another number of threads."""
    command = [sys.executable, "-m", "benchmarks.masks", "--child", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    run = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own module
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def child(what: str, rows: str, columns: str, *rest: str) -> dict[str, Any]:
    torch.manual_seed(0)
    weight = torch.randn(int(rows), int(columns))
    with redirect_stdout(sys.stderr), torch.no_grad():
        if what == "time":
            return time_all(weight, int(rest[0]))
        job, name = rest
        return {"extra_mb": extra_megabytes(weight, next(c for c in contestants() if (c.job, c.name) == (job, name)))}


def time_all(weight: Tensor, rounds: int) -> dict[str, Any]:
    present = list(contestants())
    results = {c: c.ready(weight)() != 0 for c in present}  # also the call that warms up
    rows: list[dict[str, Any]] = []
    for c in present:
        ours = next(results[other] for other in present if other.job == c.job)
        rows.append({"job": c.job, "name": c.name, "seconds": [], "agreement": compare(weight, ours, results[c])})
    del results
    rounded = weight[:1024].bfloat16().float()  # as many a checkpoint comes, and full of ties
    for row, c in zip(rows, present, strict=True):
        row["agreement_bfloat16"] = compare(rounded, keep_n_of_m(rounded.abs(), 2, 4), c.ready(rounded)() != 0)
    shuffled = random.Random(0)  # noqa: S311 - an order, not a secret
    for _ in range(rounds):
        for i in shuffled.sample(range(len(present)), len(present)):
            rows[i]["seconds"].append(seconds(present[i].ready(weight)))
    return {
        "rows": rows,
        "torch_threads": torch.get_num_threads(),
        "ties": [share_of_ties(w) for w in (weight, rounded)],
    }


def seconds(call: Call) -> float:
    gc.collect()
    start = time.perf_counter()
    kept = call()
    taken = time.perf_counter() - start
    del kept  # outside the clock, for all alike
    return taken


def extra_megabytes(weight: Tensor, contestant: Contestant) -> float:
    """Return how far one call lifts the process's peak over what it held with the weight and the model there.

    The first call, on a small weight, brings what a library loads once. The peak counts from the start of the process,
    and importing took less than a call on these shapes does.
    """
    contestant.ready(torch.randn(64, 64))()
    call = contestant.ready(weight)
    gc.collect()
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    call()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held) / 1e6


def compare(weight: Tensor, ours: Tensor, other: Tensor) -> dict[str, Any]:
    """Count equal entries and, of the groups that differ, those where the other mask keeps less, or more, than ours."""
    differs = (ours != other).reshape(-1, 4).any(dim=1)
    groups = weight.reshape(-1, 4)[differs].abs().double()
    gained = (groups * other.reshape(-1, 4)[differs]).sum(dim=1) - (groups * ours.reshape(-1, 4)[differs]).sum(dim=1)
    return {
        "equal_entries": float((ours == other).double().mean()),
        "groups": ours.numel() // 4,
        "groups_not_2_of_4": int((other.reshape(-1, 4).sum(dim=1) != 2).sum()),
        "groups_that_differ": int(differs.sum()),
        "kept_less": int((gained < 0).sum()),
        "kept_more": int((gained > 0).sum()),
        "largest_loss": float(-gained.min()) if len(gained) else 0.0,
    }


def share_of_ties(weight: Tensor) -> float:
    """Return the share of groups whose second and third magnitude are the same number: two masks are right there."""
    ordered = weight.abs().reshape(-1, 4).sort(dim=1).values
    return float((ordered[:, 1] == ordered[:, 2]).double().mean())


def contestants() -> Iterator[Contestant]:
    """Give ours first for each job, then torch by itself, then the peers that are installed."""
    yield Contestant("mask", "ours: keep_n_of_m", lambda w: lambda: keep_n_of_m(w.abs(), 2, 4))
    yield Contestant("step", "ours: magnitude, keep_n_of_m, apply", our_step)
    yield Contestant("mask", "reference: topk, scatter", lambda w: lambda: mask_by_topk(w))
    yield Contestant("step", "reference: topk, scatter, apply", topk_step)
    yield from torch_ao()
    yield from modelopt()


def our_step(weight: Tensor) -> Call:
    own = weight.clone()

    def call() -> Tensor:
        keep = keep_n_of_m(magnitude(own), 2, 4)
        return own.copy_(torch.where(keep, own, 0.0))

    return call


def mask_by_topk(weight: Tensor) -> Tensor:
    groups = weight.abs().view(-1, 4)
    kept = groups.topk(2, dim=1, sorted=False).indices
    return torch.zeros(groups.shape, dtype=torch.bool).scatter_(1, kept, value=True).view(weight.shape)


def topk_step(weight: Tensor) -> Call:
    own = weight.clone()
    return lambda: own.mul_(mask_by_topk(own))


def modelopt() -> Iterator[Contestant]:
    """Give modelopt's mask and what its users call."""
    try:
        sparsity = import_module("modelopt.torch.sparsity")
        asp = import_module("modelopt.torch.sparsity.weight_sparsity.magnitude")
    except ImportError:
        return

    def step(weight: Tensor) -> Call:
        model = layer(weight)

        def call() -> Tensor:
            pruned: Tensor = sparsity.export(sparsity.sparsify(model, "sparse_magnitude"))[0].weight
            return pruned

        return call

    yield Contestant("mask", "modelopt: create_asp_mask", lambda w: lambda: asp.create_asp_mask(w, "2:4 sparsity"))
    yield Contestant("step", "modelopt: sparsify, export", step)


def torch_ao() -> Iterator[Contestant]:
    """Give torch's own sparsifier: its mask (set on the layer it was prepared for), and all that its users call."""
    try:
        pruning = import_module("torch.ao.pruning")
    except ImportError:
        return

    def prepared(model: nn.Sequential) -> Any:
        sparsifier = pruning.WeightNormSparsifier(1.0, sparse_block_shape=(1, 4), zeros_per_block=2, norm=1)
        sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
        return sparsifier

    def mask(weight: Tensor) -> Call:
        model = layer(weight)
        sparsifier = prepared(model)

        def call() -> Tensor:
            sparsifier.step()
            made: Tensor = sparsifier.groups[0]["module"].parametrizations.weight[0].mask
            return made

        return call

    def step(weight: Tensor) -> Call:
        model = layer(weight)

        def call() -> Tensor:
            sparsifier = prepared(model)
            sparsifier.step()
            sparsifier.squash_mask()
            pruned: Tensor = model[0].get_parameter("weight")
            return pruned

        return call

    yield Contestant("mask", "torch.ao: WeightNormSparsifier.step", mask)
    yield Contestant("step", "torch.ao: prepare, step, squash_mask", step)


def layer(weight: Tensor) -> nn.Sequential:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight.clone())
    return nn.Sequential(linear)


def wait_for_calm(calm: float, patience: float) -> float:
    """Wait until the others on this machine rest, and return how many cores they keep busy then."""
    deadline = time.monotonic() + patience
    while (others := cores_busy()) > calm and time.monotonic() < deadline:
        pass
    return others


def cores_busy(over: float = 2.0) -> float:
    """Return the cores in use while this process sleeps; a load average would count our own past for a minute."""

    def idle() -> float:
        resting, waiting = map(int, Path("/proc/stat").read_text().split()[4:6])
        return (resting + waiting) / os.sysconf("SC_CLK_TCK")

    before, start = idle(), time.monotonic()
    time.sleep(over)
    return max(0.0, (os.cpu_count() or 1) - (idle() - before) / (time.monotonic() - start))


def provenance() -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in PACKAGES},
        "weight": "torch.randn, float32, seed 0",
    }


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def ratios(block: dict[str, Any], row: dict[str, Any]) -> list[float]:
    """Return how many times as long as ours a row took, in each round."""
    ours = next(other["seconds"] for other in block["rows"] if other["job"] == row["job"])
    return [theirs / own for theirs, own in zip(row["seconds"], ours, strict=True)]


def spread(values: list[float], digits: int) -> tuple[str, str]:
    return f"{statistics.median(values):.{digits}f}", f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def where(data: dict[str, Any]) -> str:
    """Say on what machine, with which versions, and when."""
    versions = ", ".join(f"{name} {found or 'not installed'}" for name, found in data["versions"].items())
    others = [block["cores_busy_before"] for block in data["blocks"]]
    loads = [block["load_after"] for block in data["blocks"]]
    return (
        f"{data['cpu']}, {data['cores']} cores, {data['rounds']} rounds, {data['created']}; cores others kept busy "
        f"before each block {min(others):.2f}-{max(others):.2f}, load after it {min(loads):.1f}-{max(loads):.1f} (this "
        f"run's own included); Python {data['python']}, {versions}. "
        f"Weight: {data['weight']}. Seconds are medians of the wall clock."
    )


def table(data: dict[str, Any]) -> str:
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for job in ("mask", "step"):
        for block in data["blocks"]:
            rows += [cells(block, row) for row in block["rows"] if row["job"] == job]
            if data["versions"]["nvidia-modelopt"] is None:
                rows.append((job, *place(block), "modelopt", f"not installed: `{PEERS}`", "", "", "", "", ""))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cells(block: dict[str, Any], row: dict[str, Any]) -> tuple[str, ...]:
    digits = 3 if statistics.median(row["seconds"]) > 0.1 else 4
    return (
        row["job"],
        *place(block),
        row["name"],
        *spread(row["seconds"], digits),
        *(spread(ratios(block, row), 2) if not row["name"].startswith("ours") else ("1", "")),
        f"{row['extra_mb']:.0f}" if "extra_mb" in row else "",
        f"{row['agreement']['equal_entries']:.7%}",
    )


def place(block: dict[str, Any]) -> tuple[str, str]:
    return "x".join(map(str, block["shape"])), str(block["threads"])


def verdicts(data: dict[str, Any]) -> Iterator[str]:
    """Set the fastest peer, and the reference, against ours for each job, shape and number of threads."""
    for job in ("mask", "step"):
        for block in data["blocks"]:
            reference = [row for row in block["rows"] if row["job"] == job and row["name"].startswith("reference")]
            ours = [row for row in block["rows"] if row["job"] == job and row["name"].startswith("ours")]
            peers = [row for row in block["rows"] if row["job"] == job and row not in [*reference, *ours]]
            fastest = sorted(peers, key=lambda row: statistics.median(row["seconds"]))[:1]
            shape, threads = place(block)
            against = "; ".join(verdict(block, row) for row in [*fastest, *reference])
            yield f"- {job}, {shape}, threads: {threads}: {against}"


def verdict(block: dict[str, Any], row: dict[str, Any]) -> str:
    found = ratios(block, row)
    middle, width = spread(found, 2)
    holds = "holds" if statistics.median(found) >= 1 else "fails"
    wins = sum(ratio >= 1 for ratio in found)
    return f"{row['name']} takes {middle} times ours ({width}): >= 1 {holds}, in {wins} of {len(found)} rounds"


def agreement(data: dict[str, Any]) -> Iterator[str]:
    """Account for every group in which a mask is not ours."""
    for block in data["blocks"]:
        if block["threads"] == THREADS[0]:
            shape, _ = place(block)
            yield from accounted(block, "agreement", f"{shape}, float32", block["ties"][0])
            yield from accounted(block, "agreement_bfloat16", f"{shape}, bfloat16 values", block["ties"][1])


def accounted(block: dict[str, Any], key: str, weight: str, ties: float) -> Iterator[str]:
    yield f"- {weight}: the second and the third magnitude are equal in {ties:.5%} of the groups, and either may stay."
    found = {row["name"]: row[key] for row in block["rows"]}
    same = [name for name, each in found.items() if not each["groups_that_differ"]]
    yield f"  - no group differs from ours: {'; '.join(same) if len(same) < len(found) else 'all of them'}"
    for name, each in found.items():
        if name not in same:
            loss = f" (by {each['largest_loss']:.1e} at most)" if each["kept_less"] else ""
            yield (
                f"  - {name}: {each['groups_that_differ']} of {each['groups']} groups differ from ours; of those it "
                f"keeps less magnitude in {each['kept_less']}{loss} and more in {each['kept_more']}; "
                f"{each['groups_not_2_of_4']} groups are not 2 of 4"
            )


def notes(data: dict[str, Any]) -> Iterator[str]:
    yield "- mask: from the weight to a mask. step: from a model to its pruned weight, its copy not counted."
    yield "- times ours: paired within each round. extra MB: one call's peak over what was held before it, one thread."
    yield "- equal: share of entries that are kept, or dropped, as by ours for the same job."
    if data["versions"]["nvidia-modelopt"] is None:
        yield f"- For the missing peer: `{PEERS}`"


if __name__ == "__main__":
    main()
