"""Accuracy at equal measured latency, channels: `python -m benchmarks.channels TASK --peer-python PATH`.

A small network, for handwritten digits or for the characters of source files, trained from several seeds; each is cut
at several ratios by us and by torch-pruning (in the interpreter given), by magnitude, Taylor and second order, layer by
layer, all together, by a scan that pays in multiplications, and by our search for a latency. All cuts of a seed are
timed in turn by ONNX Runtime on one thread. Of each contestant, at each fraction of the dense latency, the slowest cut
that is at least so fast is taken, whatever its accuracy, and scored on the same held-out data: as it is, with
BatchNorm's statistics estimated anew, and after the same fine-tuning, short and long. Writes tables and JSON.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks import channels_lm, channels_net
from benchmarks.channels_tables import FRACTIONS, provenance, shown
from jupyter_hwprune import hwprune
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.pruning.allocation import allocate
from jupyter_hwprune.pruning.batch_norm import batch_norms, estimate
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.channels import magnitudes
from jupyter_hwprune.pruning.graph import ChannelSet, Coupled, analyse, cut
from jupyter_hwprune.pruning.macs import count_macs
from jupyter_hwprune.pruning.masks import keep_top
from jupyter_hwprune.pruning.reading import read_weights
from jupyter_hwprune.pruning.reconstruction import Reconstruction
from jupyter_hwprune.pruning.sensitivity import scan
from jupyter_hwprune.pruning.taylor import taylor

RESULTS = Path(__file__).parent / "results"
REPOSITORY = Path(__file__).parent.parent
RATIOS = (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85)
BATCH = 32
MULTIPLE = 8  # of channels, ours and the peer's
ROUNDS, CALLS = 11, 2
LEVELS = (0.25, 0.5, 0.75)
ALLOCATIONS = {
    "magnitude": ("uniform", "sensitivity"),
    "taylor": ("uniform", "sensitivity"),
    "second-order": ("uniform", "sensitivity"),
}
AIM = 0.96  # of a fraction, for the search: what it finds is measured anew, beside the others

Data = tuple[Tensor, Tensor]
Scores = Mapping[str, Tensor]


@dataclass(frozen=True)
class Task:
    """What a network is trained on, in steps or epochs at a rate."""

    what: str
    module: Any  # with Net, of_state, train and accuracy
    data: Callable[[int], tuple[Data, Data]]
    calibration: Callable[[Data, int], Data]
    training: tuple[int, float]
    tuning: tuple[int, int, float]  # short, long, and the rate of both
    unit: str


def _disturbed(training: Data, seed: int) -> Data:
    few = channels_net.CALIBRATED_ON
    return channels_net.disturbed(training[0], torch.Generator().manual_seed(seed))[:few], training[1][:few]


def _first_windows(training: Data, _seed: int) -> Data:
    return training[0][: channels_lm.CALIBRATED_ON], training[1][: channels_lm.CALIBRATED_ON]


TASKS = {
    "digits": Task(
        f"Handwritten digits, {channels_net.TRAINED_ON} to train on, shifted by a pixel and with noise of "
        f"{channels_net.NOISE}; a residual network with BatchNorm and a depthwise layer",
        channels_net,
        channels_net.digits,
        _disturbed,
        (30, 3e-3),
        (5, 40, 1e-3),
        "epochs",
    ),
    "characters": Task(
        "The next character of the standard library's sources, every tenth file held out; a residual network of causal "
        "convolutions without normalisation",
        channels_lm,
        channels_lm.text,
        _first_windows,
        (600, 3e-3),
        (60, 300, 1e-3),
        "steps",
    ),
}


@dataclass
class Cut:
    """One cut network that was taken at a fraction of the dense latency; the other numbers are accuracies."""

    seed: int
    who: str
    fraction: float
    ratio: float
    widths: tuple[int, ...]
    latency: float  # of the dense one's
    before: float
    statistics: float
    short: float
    long: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=tuple(TASKS))
    parser.add_argument("--peer-python", type=Path, help="an interpreter with torch-pruning and scikit-learn")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time; all that is compared runs in one of them")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    out = options.out or RESULTS / ("channels.json" if options.task == "digits" else f"channels_{options.task}.json")
    out.parent.mkdir(exist_ok=True)
    task = TASKS[options.task]
    about = {
        "task": f"{task.what}. The same {len(task.calibration(task.data(0)[0], 0)[1])} labelled inputs for all that "
        f"asks for some; tuning is {task.tuning[0]} (short) or {task.tuning[1]} (long) {task.unit}.",
        "batch": BATCH,
        "ratios": RATIOS,
        "multiple": MULTIPLE,
    }
    seeds: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for seed in pool.map(partial(one_seed, options.task, options.peer_python), range(options.seeds)):
            seeds.append(seed)
            minutes = round((time.perf_counter() - started) / 60, 1)
            data = {**provenance(seeds), **about, "minutes": minutes, "seeds": seeds}
            out.write_text(json.dumps(data, indent=1) + "\n")
            out.with_suffix(".md").write_text(shown(data) + "\n")
    print(f"{shown(data)}\nWritten to {out} and beside it")


def one_seed(name: str, peer_python: Path | None, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    task = TASKS[name]
    training, held_out = task.data(seed)
    dense = task.module.Net()
    task.module.train(dense, training, *task.training, seed)
    calib = task.calibration(training, seed)
    failures: dict[str, str] = {}
    peer = None
    found = list(ours(task, dense, calib)) + list(searched(task, dense, calib))
    if peer_python is not None:
        theirs, failures, peer = peers(name, dense, calib, peer_python)
        found += theirs
    fractions = latencies(task, dense, {widths(small): small for _, _, small in found})
    cuts = []
    for who in dict.fromkeys(who for who, _, _ in found):
        own = [(fractions[widths(small)], ratio, small) for name_, ratio, small in found if name_ == who]
        for fraction in FRACTIONS:
            fast = [each for each in own if each[0] <= fraction]
            if fast:
                latency, ratio, small = max(fast, key=lambda each: each[0])
                scores = stages(task, small, calib[0], training, held_out, seed)
                cuts.append(Cut(seed, who, fraction, ratio, widths(small), latency, *scores))
    print(f"seed {seed}: dense {task.module.accuracy(dense, held_out):.3f}, {len(cuts)} cuts", flush=True)
    return {
        "dense": task.module.accuracy(dense, held_out),
        "cuts": [asdict(each) for each in cuts],
        "failures": failures,
        "peer": peer,
    }


def stages(task: Task, small: nn.Module, inputs: Tensor, training: Data, held_out: Data, seed: int) -> Iterator[float]:
    """Yield the accuracy as cut, with BatchNorm's statistics of its own, after short and after long tuning."""
    accuracy = partial(task.module.accuracy, data=held_out)
    yield accuracy(small)
    own = copy.deepcopy(small)
    if batch_norms(own):
        estimate(own, [Example.of(inputs)])
    yield accuracy(own)
    for effort in task.tuning[:2]:
        tuned = copy.deepcopy(small)
        task.module.train(tuned, training, effort, task.tuning[2], seed)
        yield accuracy(tuned)


def ours(task: Task, dense: nn.Module, calib: Data) -> Iterator[tuple[str, float, nn.Module]]:
    """Cut by each importance and allocation, as `pruning.prune` does with `channel/8`."""
    example = Example.of(calib[0])
    coupled = analyse(dense, Example.of(calib[0][:2]))
    weights = read_weights(dense, Example.of(calib[0][:2]))
    reconstruction = Reconstruction(dense, coupled, weights, Calibration((example,), None))
    plain = magnitudes(dense, coupled)
    rated = {
        "magnitude": plain,
        "taylor": taylor(dense, coupled, [example], [calib[1]]),
        "second-order": {**plain, **reconstruction.scores()},
    }
    costs = {each.name: macs_with(dense, coupled, each, calib[0][:1]) for each in coupled.sets}
    for importance, scores in rated.items():
        mended = importance == "second-order"
        sensitivity = scan(
            dense,
            costs,
            zero_lowest(coupled, scores, reconstruction if mended else None),
            [example],
            LEVELS,
            groups={each.name: costs[each.name] // each.units for each in coupled.sets},
            rows=len(calib[0]),
        )
        for ratio in RATIOS:
            shares = {
                "uniform": dict.fromkeys(scores, ratio),
                "sensitivity": allocate(sensitivity, ratio),
            }
            for allocation in ALLOCATIONS[importance]:
                share = shares[allocation]
                keep = {name: best(score, share[name]) for name, score in scores.items()}
                small, masks = cut(dense, coupled, keep)
                if mended:
                    reconstruction.refit(small, masks)
                yield f"ours: {importance}, {allocation}", ratio, task.module.of_state(small.state_dict())


def searched(task: Task, dense: nn.Module, calib: Data) -> Iterator[tuple[str, float, nn.Module]]:
    """Search for each latency, as a user does."""
    for fraction in FRACTIONS:
        run = hwprune(
            dense,
            calib[0][:BATCH],
            toolchain="onnxruntime",
            pattern=f"channel/{MULTIPLE}",
            importance="second-order",
            speedup=1 / (AIM * fraction),
            calib=calib[0],
            keep_statistics=True,
        )
        yield "ours: second-order, search", fraction, task.module.of_state(run.model.cpu().state_dict())


def macs_with(dense: nn.Module, coupled: Coupled, channels: ChannelSet, image: Tensor) -> int:
    """Return what a set costs: the multiplications that one of its units goes with, times its units."""
    keep = torch.ones(channels.units, dtype=torch.bool)
    keep[0] = False
    small, _ = cut(dense, coupled, {channels.name: keep})
    whole, less = (sum(count_macs(net, Example.of(image)).values()) for net in (dense, small))
    return channels.units * (whole - less)


def zero_lowest(
    coupled: Coupled, scores: Scores, reconstruction: Reconstruction | None
) -> Callable[[nn.Module, str, float], float]:
    """Return a `prune_one` that zeroes a set's least units in all their places, and has the others make up for them."""
    slots = {each.name: each.slots for each in coupled.sets}

    def prune_one(model: nn.Module, name: str, share: float) -> float:
        keep = best(scores[name], share)
        for slot in slots[name]:
            if slot.parameter:
                model.get_parameter(slot.tensor).index_fill_(slot.dim, slot.positions[~keep].flatten(), 0)
        if reconstruction is not None and not keep.all():
            reconstruction.make_up(model, name, (~keep).nonzero().flatten())
        return 1 - float(keep.float().mean())

    return prune_one


def best(scores: Tensor, share: float) -> Tensor:
    """Keep the best units, in the nearest multiple to what the share leaves. [U] -> bool [U]."""
    return keep_top(scores, max(MULTIPLE, round((1 - share) * len(scores) / MULTIPLE) * MULTIPLE))


def peers(
    name: str, dense: nn.Module, calib: Data, python: Path
) -> tuple[list[tuple[str, float, nn.Module]], dict[str, str], str]:
    """Have torch-pruning make its cuts; return them, what failed, and its version."""
    module = TASKS[name].module
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        torch.save(dense.state_dict(), folder / "dense.pt")
        torch.save(calib, folder / "calib.pt")
        (folder / "ratios.json").write_text(json.dumps(RATIOS))
        command = [str(python), "-m", "benchmarks.channels_peer", made, module.__name__]
        subprocess.run(command, cwd=REPOSITORY, check=True)  # noqa: S603 - the interpreter that the user named
        found = []
        for path in sorted(folder.glob("*, *, *.pt")):
            who, _, ratio = path.stem.rpartition(", ")
            found.append((f"torch-pruning: {who}", float(ratio), module.of_state(torch.load(path))))
        said = json.loads((folder / "errors.json").read_text())
    return found, said["errors"], said["version"]


def widths(net: nn.Module) -> tuple[int, ...]:
    return tuple(tensor.shape[0] for tensor in net.state_dict().values() if tensor.ndim > 2)


def latencies(task: Task, dense: nn.Module, nets: dict[tuple[int, ...], nn.Module]) -> dict[tuple[int, ...], float]:
    """Return each network's CPU time over the dense one's: the median over rounds, in which all take turns."""
    x = task.data(0)[1][0][:BATCH]
    exported = onnx_of(task.module, tuple(x.shape))
    shape = widths(dense)
    sessions = {key: session(exported, net) for key, net in {**nets, shape: dense}.items()}
    feed = {"x": x.numpy()}
    for key, net in nets.items():
        with torch.no_grad():
            wanted = net(x).numpy()
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
def onnx_of(module: Any, shape: tuple[int, ...]) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.Net().eval(), (torch.randn(shape),), input_names=["x"], dynamo=True, optimize=False, verbose=False
        )
    assert program is not None
    return program.model_proto


def session(exported: onnx.ModelProto, net: nn.Module) -> Any:
    """Put the network's weights in the place of the dense ones, which spares an export for each."""
    model = onnx.ModelProto()
    model.CopyFrom(exported)
    state = net.state_dict()
    for initializer in model.graph.initializer:
        if initializer.name in state:
            initializer.CopyFrom(onnx.numpy_helper.from_array(state[initializer.name].numpy(), initializer.name))
    del model.graph.value_info[:]
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] == "depthwise.0.weight":
            next(a for a in node.attribute if a.name == "group").i = len(state["depthwise.0.weight"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
