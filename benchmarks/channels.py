"""Accuracy at equal measured latency, channels: `python -m benchmarks.channels --peer-python PATH`.

One small network on few handwritten digits, trained from several seeds; each is cut at several ratios by us and by
torch-pruning (in the interpreter given), by magnitude and by Taylor, layer by layer and all together. All cuts of a
seed are timed in turn by ONNX Runtime on one thread, and scored on the same held-out digits, before and after the same
fine-tuning. Accuracies are read at fractions of the dense latency: that of each contestant's best cut that is at least
so fast. Writes tables and JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.channels_net import CALIBRATED_ON, NOISE, TRAINED_ON, Net, accuracy, digits, disturbed, of_state, train
from benchmarks.masks import cpu_name
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.pruning.allocation import allocate
from jupyter_hwprune.pruning.channels import magnitudes
from jupyter_hwprune.pruning.graph import ChannelSet, Coupled, analyse, cut
from jupyter_hwprune.pruning.macs import count_macs
from jupyter_hwprune.pruning.masks import keep_top
from jupyter_hwprune.pruning.sensitivity import scan
from jupyter_hwprune.pruning.taylor import taylor

RESULTS = Path(__file__).parent / "results" / "channels.json"
REPOSITORY = Path(__file__).parent.parent
RATIOS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
FRACTIONS = (0.5, 0.33)  # of the dense latency
BATCH = 32
MULTIPLE = 8  # of channels, ours and the peer's
EPOCHS, RATE = 30, 3e-3
TUNING_EPOCHS, TUNING_RATE = 5, 1e-3
ROUNDS, CALLS = 11, 2
LEVELS = (0.25, 0.5, 0.75)
ALLOCATIONS = {
    "magnitude": ("uniform", "global, relative", "sensitivity"),
    "taylor": ("uniform", "global, relative", "global", "sensitivity"),
    "taylor of outputs": ("sensitivity",),
}
PACKAGES = ("jupyter-hwprune", "torch", "onnxruntime", "scikit-learn")

Scores = Mapping[str, Tensor]


@dataclass
class Cut:
    """One cut network; what became of it is filled in as it is found."""

    seed: int
    who: str
    ratio: float
    widths: tuple[int, ...]
    before: float
    after: float
    latency: float = 0.0  # of the dense one's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, help="an interpreter with torch-pruning and scikit-learn")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time; all that is compared runs in one of them")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.perf_counter()
    options.out.parent.mkdir(exist_ok=True)
    seeds: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for seed in pool.map(partial(one_seed, options.peer_python), range(options.seeds)):
            seeds.append(seed)
            minutes = round((time.perf_counter() - started) / 60, 1)
            data = {**provenance(seeds), "minutes": minutes, "seeds": seeds}
            options.out.write_text(json.dumps(data, indent=1) + "\n")
    shown = "\n".join([where(data), "", *tables(data), "", *errors(data)])
    print(shown)
    options.out.with_suffix(".md").write_text(shown + "\n")
    print(f"Written to {options.out} and beside it")


def one_seed(peer_python: Path | None, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    training, held_out = digits(seed)
    dense = Net()
    train(dense, training, EPOCHS, RATE, seed)
    calib = disturbed(training[0], torch.Generator().manual_seed(seed))[:CALIBRATED_ON], training[1][:CALIBRATED_ON]
    cuts: list[Cut] = []
    failures: dict[str, str] = {}
    peer = None
    found = list(ours(dense, calib))
    if peer_python is not None:
        theirs, failures, peer = peers(dense, calib, peer_python)
        found += theirs
    for who, ratio, small in found:
        before = accuracy(small, held_out)
        tuned = of_state(small.state_dict())
        train(tuned, training, TUNING_EPOCHS, TUNING_RATE, seed)
        cuts.append(Cut(seed, who, ratio, widths(small), before, accuracy(tuned, held_out)))
    fractions = latencies(dense, {widths(small): small for _, _, small in found})
    for each in cuts:
        each.latency = fractions[each.widths]
    print(f"seed {seed}: dense {accuracy(dense, held_out):.3f}, {len(cuts)} cuts", flush=True)
    return {
        "dense": accuracy(dense, held_out),
        "cuts": [asdict(each) for each in cuts],
        "failures": failures,
        "peer": peer,
    }


def ours(dense: Net, calib: tuple[Tensor, Tensor]) -> Iterator[tuple[str, float, Net]]:
    """Cut by each importance and allocation, as `remove_channels` does with `channel/8`."""
    example = Example.of(calib[0])
    coupled = analyse(dense, Example.of(calib[0][:2]))
    rated = {
        "magnitude": magnitudes(dense, coupled),
        "taylor": taylor(dense, coupled, [example], [calib[1]]),
        "taylor of outputs": taylor(dense, coupled, [example]),
    }
    costs = {each.name: macs_with(dense, coupled, each, calib[0][:1]) for each in coupled.sets}
    for importance, scores in rated.items():
        sensitivity = scan(
            dense,
            costs,
            zero_lowest(coupled, scores),
            [example],
            LEVELS,
            groups={each.name: costs[each.name] // each.units for each in coupled.sets},
            rows=CALIBRATED_ON,
        )
        for ratio in RATIOS:
            shares = {
                "uniform": dict.fromkeys(scores, ratio),
                "global, relative": ranked_together(scores, ratio, relative=True),
                "global": ranked_together(scores, ratio, relative=False),
                "sensitivity": allocate(sensitivity, ratio),
            }
            for allocation in ALLOCATIONS[importance]:
                share = shares[allocation]
                keep = {name: best(score, share[name]) for name, score in scores.items()}
                small, _ = cut(dense, coupled, keep)
                yield f"ours: {importance}, {allocation}", ratio, of_state(small.state_dict())


def macs_with(dense: nn.Module, coupled: Coupled, channels: ChannelSet, image: Tensor) -> int:
    """Return what a set costs: the multiplications that one of its units goes with, times its units."""
    keep = torch.ones(channels.units, dtype=torch.bool)
    keep[0] = False
    small, _ = cut(dense, coupled, {channels.name: keep})
    whole, less = (sum(count_macs(net, Example.of(image)).values()) for net in (dense, small))
    return channels.units * (whole - less)


def zero_lowest(coupled: Coupled, scores: Scores) -> Callable[[nn.Module, str, float], float]:
    """Return a `prune_one` that zeroes a set's least units in all their places."""
    slots = {each.name: each.slots for each in coupled.sets}

    def prune_one(model: nn.Module, name: str, share: float) -> float:
        keep = best(scores[name], share)
        for slot in slots[name]:
            if slot.parameter:
                model.get_parameter(slot.tensor).index_fill_(slot.dim, slot.positions[~keep].flatten(), 0)
        return 1 - float(keep.float().mean())

    return prune_one


def best(scores: Tensor, share: float) -> Tensor:
    """Keep the best units, in the nearest multiple to what the share leaves. [U] -> bool [U]."""
    return keep_top(scores, max(MULTIPLE, round((1 - share) * len(scores) / MULTIPLE) * MULTIPLE))


def ranked_together(scores: Scores, ratio: float, *, relative: bool) -> dict[str, float]:
    """Return each set's share of the lowest units of all; `relative` to its mean where sets differ in scale."""
    comparable = [score / score.mean() if relative else score for score in scores.values()]
    units = torch.cat(comparable)
    keep = torch.split(keep_top(units, round((1 - ratio) * len(units))), [len(score) for score in comparable])
    return {name: 1 - float(kept.float().mean()) for name, kept in zip(scores, keep, strict=True)}


def peers(
    dense: Net, calib: tuple[Tensor, Tensor], python: Path
) -> tuple[list[tuple[str, float, Net]], dict[str, str], str]:
    """Have torch-pruning make its cuts; return them, what failed, and its version."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        torch.save(dense.state_dict(), folder / "dense.pt")
        torch.save(calib, folder / "calib.pt")
        (folder / "ratios.json").write_text(json.dumps(RATIOS))
        command = [str(python), "-m", "benchmarks.channels_peer", made]
        subprocess.run(command, cwd=REPOSITORY, check=True)  # noqa: S603 - the interpreter that the user named
        found = []
        for path in sorted(folder.glob("*, *, *.pt")):
            who, _, ratio = path.stem.rpartition(", ")
            found.append((f"torch-pruning: {who}", float(ratio), of_state(torch.load(path))))
        said = json.loads((folder / "errors.json").read_text())
    return found, said["errors"], said["version"]


def widths(net: Net) -> tuple[int, ...]:
    return tuple(tensor.shape[0] for tensor in net.state_dict().values() if tensor.ndim == 4)


def latencies(dense: Net, nets: dict[tuple[int, ...], Net]) -> dict[tuple[int, ...], float]:
    """Return each network's CPU time over the dense one's: the median over rounds, in which all take turns."""
    exported = onnx_of()
    shape = widths(dense)
    sessions = {key: session(exported, net) for key, net in {**nets, shape: dense}.items()}
    feed = {"x": torch.randn(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()}
    for key, net in nets.items():
        with torch.no_grad():
            wanted = net(torch.from_numpy(feed["x"])).numpy()
        if not np.allclose(sessions[key].run(None, feed)[0], wanted, atol=1e-3 * np.abs(wanted).max()):
            raise RuntimeError(f"ONNX Runtime computes another function for the widths {key}")
    times: dict[tuple[int, ...], list[float]] = {key: [] for key in sessions}
    order = list(sessions)
    for _ in range(ROUNDS):
        np.random.default_rng(len(times[shape])).shuffle(order)
        for key in order:
            sessions[key].run(None, feed)
            begin = time.process_time()
            for _ in range(CALLS):
                sessions[key].run(None, feed)
            times[key].append(time.process_time() - begin)
    return {
        key: statistics.median(own / whole for own, whole in zip(each, times[shape], strict=True))
        for key, each in times.items()
    }


@cache
def onnx_of() -> onnx.ModelProto:
    net = Net().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            net, (torch.randn(BATCH, 1, 8, 8),), input_names=["x"], dynamo=True, optimize=False, verbose=False
        )
    assert program is not None
    return program.model_proto


def session(exported: onnx.ModelProto, net: Net) -> Any:
    """Put the network's weights in the place of the dense ones, which spares an export for each."""
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    state = net.state_dict()
    for initializer in model.graph.initializer:
        initializer.CopyFrom(onnx.numpy_helper.from_array(state[initializer.name].numpy(), initializer.name))
    del model.graph.value_info[:]
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] == "depthwise.0.weight":
            next(a for a in node.attribute if a.name == "group").i = len(state["depthwise.0.weight"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def at_latency(cuts: list[dict[str, Any]], fraction: float, what: str) -> float | None:
    """Read the accuracy of the best cut that is at least so fast, which is what a user would take; None without one."""
    return max((each[what] for each in cuts if each["latency"] <= fraction), default=None)


def readings(data: dict[str, Any]) -> dict[str, dict[tuple[str, float], list[float | None]]]:
    """Return for each contestant and (before or after, fraction) an accuracy a seed."""
    names = dict.fromkeys(each["who"] for seed in data["seeds"] for each in seed["cuts"])
    return {
        who: {
            (what, fraction): [
                at_latency([c for c in seed["cuts"] if c["who"] == who], fraction, what) for seed in data["seeds"]
            ]
            for what in ("before", "after")
            for fraction in FRACTIONS
        }
        for who in names
    }


def tables(data: dict[str, Any]) -> Iterator[str]:
    read = readings(data)
    keys = [(what, fraction) for what in ("before", "after") for fraction in FRACTIONS]
    head = [f"{what} tuning, {fraction:g} of the latency" for what, fraction in keys]
    yield "| who | " + " | ".join(head) + " |"
    yield "|---" * (len(keys) + 1) + "|"
    for who, found in read.items():
        yield f"| {who} | " + " | ".join(spread(found[key]) for key in keys) + " |"
    peers_read = {who: found for who, found in read.items() if who.startswith("torch-pruning")}
    if not peers_read:
        return
    yield ""
    yield "Ours minus torch-pruning, seed by seed: the mean in points, its bootstrap 95 % interval, and the verdict."
    for key, said in zip(keys, head, strict=True):
        yield ""
        yield f"| {said} | " + " | ".join(who.removeprefix("torch-pruning: ") for who in peers_read) + " |"
        yield "|---" * (len(peers_read) + 1) + "|"
        for who, found in read.items():
            if who not in peers_read:
                cells = [difference(found[key], other[key]) for other in peers_read.values()]
                yield f"| {who} | " + " | ".join(cells) + " |"


def spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "never so fast"
    missing = f", {len(values) - len(known)} never so fast" if len(known) < len(values) else ""
    return f"{statistics.mean(known):.3f} ({min(known):.3f} to {max(known):.3f}{missing})"


def difference(own: list[float | None], other: list[float | None]) -> str:
    pairs = [100 * (a - b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return "not compared"
    draws = np.random.default_rng(0).choice(pairs, (10_000, len(pairs))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    verdict = "won" if low > 0 else "lost" if high < 0 else "even"
    return f"{statistics.mean(pairs):+.1f} ({low:+.1f} to {high:+.1f}) {verdict}"


def provenance(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "versions": {name: version(name) for name in PACKAGES} | {"torch-pruning": seeds[0]["peer"]},
        "ratios": RATIOS,
    }


def where(data: dict[str, Any]) -> str:
    dense = spread([seed["dense"] for seed in data["seeds"]])
    versions = ", ".join(f"{name} {said}" for name, said in data["versions"].items() if said)
    return (
        f"{data['cpu']}, one thread, batch {BATCH}, {data['created']}, {data['minutes']} minutes; {versions}.\n\n"
        f"Handwritten digits, {TRAINED_ON} to train on, shifted by a pixel and with noise of {NOISE}; "
        f"{len(data['seeds'])} seeds. Dense accuracy {dense}: mean (least to most). Each contestant at ratios "
        f"{', '.join(f'{ratio:g}' for ratio in data['ratios'])}, channels in multiples of {MULTIPLE}, the same "
        f"{CALIBRATED_ON} labelled images for all that asks for some, {TUNING_EPOCHS} epochs of fine-tuning."
    )


def errors(data: dict[str, Any]) -> Iterator[str]:
    for number, seed in enumerate(data["seeds"]):
        for name, error in seed["failures"].items():
            yield f"- seed {number}, torch-pruning: {name}: {error}"


if __name__ == "__main__":
    main()
