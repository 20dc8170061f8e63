"""A file that takes any batch against one for the example's alone: `python -m benchmarks.batch`.

Each network is written for its example, and opened to any batch. The open file is timed as it is, and with its batch
fixed as it is loaded, which is how a run measures it and how the script of an exported folder runs it; int8 files are
made from each by the runtime's own quantiser. All take turns in a shuffled order; times are CPU seconds of the process,
with one thread. A ratio is the time over that of the fixed file, with a bootstrap's 95 % interval over rounds and
compiled copies; "to" is the largest difference of the open file's outputs from torch's at batches of 1, 3 and the
example's, as a share of the largest output.
"""

from __future__ import annotations

import argparse
import importlib
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.export import DRAWS, flags, typical
from benchmarks.export_library import NETWORKS
from benchmarks.export_nets import Network
from benchmarks.export_times import COPIES, LEAST_ROUNDS, calls_in_block
from benchmarks.masks import cpu_name
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export.finish import OTHERS, finish
from jupyter_hwprune.export.onnx import export_onnx

RESULTS = Path(__file__).parent / "results" / "batch.json"
RUNTIMES = ("onnxruntime", "openvino")
PACKAGES = ("torch", "onnx", "onnxruntime", "openvino", "nncf")
COLUMNS = ("network", "batch", "runtime", "dtype", "fixed ms", "open", "95 %", "fixed at load", "95 %", "off by, open")
OWN: dict[str, Network] = {
    name: NETWORKS[name] for name in ("resnet18", "mobilenet_v2", "bert", "gpt2", "tcn", "lstm", "vit")
} | {
    "mlp": Network(
        lambda: nn.Sequential(nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)),
        lambda: (torch.randn(1, 784),),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(OWN), choices=list(OWN))
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--seconds", type=float, default=5, help="of rounds, for each row")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    where = (
        f"{cpu_name()} ({', '.join(flags())}), one thread, {COPIES} compiled copies of each file, {now}; {versions}."
    )
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        for batch in options.batches:
            with TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for row in measured(OWN[name], batch, Path(folder), options.seconds):
                    rows.append({"network": name, "batch": batch, **row})
                    print(" | ".join(cells(rows[-1])), flush=True)
        options.out.write_text(json.dumps({"where": where, "rows": rows}) + "\n")
        lines = [COLUMNS, tuple("---" for _ in COLUMNS), *map(cells, rows)]
        table = "\n".join(f"| {' | '.join(each)} |" for each in lines)
        options.out.with_suffix(".md").write_text(f"{where}\n\n{table}\n")


def measured(network: Network, batch: int, folder: Path, seconds: float) -> Iterator[dict[str, Any]]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = network.build().eval()
    example = Example.of(network.inputs()).rebatched(batch)
    fixed = export_onnx(model, example, folder, "fixed")
    opened = finish(export_onnx(model, example, folder, "open"), example, [""], {}, opens=True)
    if opened.batch is None:
        raise RuntimeError(opened.fixed)
    feed = [dict(zip(opened.input_names, each, strict=True)) for each in arrays([example])]
    for runtime in RUNTIMES:
        toolchain = importlib.import_module(f"jupyter_hwprune.toolchains.{runtime}")
        for dtype in ("float32", "int8"):
            files = {"fixed": str(fixed.model), "open": str(opened.model)}
            if dtype == "int8":
                files = {
                    kind: toolchain.quantise(path, feed, settings(None), str(folder))["file"]
                    for kind, path in files.items()
                }

            def ready(kind: str, own: int | None, given: dict[str, Any], toolchain: Any = toolchain) -> Any:
                artefact = toolchain.compile(files[kind], given, settings(own), str(folder))  # noqa: B023 - used at once
                return toolchain.load(artefact, given, settings(own))

            error = 0.0
            for other in {*OTHERS, batch}:
                rows = example.rebatched(other)
                given = dict(zip(opened.input_names, next(arrays([rows])), strict=True))
                (expected, *_), (found, *_) = rows.outputs(model), ready("open", None, given).outputs()
                error = max(error, float(np.abs(found - expected.numpy()).max() / expected.abs().max()))
            ways = {"fixed": ("fixed", None), "open": ("open", None), "at load": ("open", batch)}
            calls = {
                (way, copy): ready(kind, own, feed[0]).run
                for way, (kind, own) in ways.items()
                for copy in range(COPIES)
            }
            yield {"runtime": runtime, "dtype": dtype, "error": error, "ms": timed(calls, seconds)}


def arrays(examples: list[Example]) -> Iterator[list[np.ndarray]]:
    return ([tensor.numpy() for tensor in each.tensors] for each in examples)


def settings(batch: int | None) -> Any:
    return {"threads": 1, "device": "CPU", "batch": batch, "keep_files": False}


def timed(calls: dict[tuple[str, int], Callable[[], Any]], seconds: float) -> dict[str, list[list[float]]]:
    """Return the milliseconds of each way, a list of rounds for each compiled copy."""
    times: dict[str, list[list[float]]] = {way: [[] for _ in range(COPIES)] for way, _ in calls}
    count = {key: calls_in_block(call) for key, call in calls.items()}
    order, end, rounds = list(calls), time.perf_counter() + seconds, 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        random.Random(rounds).shuffle(order)  # noqa: S311 - an order, not a secret
        for way, copy in order:
            call = calls[way, copy]
            call()
            start = time.process_time()
            for _ in range(count[way, copy]):
                call()
            times[way][copy].append(round((time.process_time() - start) / count[way, copy] * 1e3, 5))
        rounds += 1
    return times


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    times = {way: np.array(each) for way, each in row["ms"].items()}  # [copies, rounds]
    compared = [part for way in ("open", "at load") for part in ratio(times[way], times["fixed"])]
    own = (row["network"], str(row["batch"]), row["runtime"], row["dtype"], f"{typical(times['fixed']):.2f}")
    return (*own, *compared, f"{row['error']:.0e}")


def ratio(own: np.ndarray, fixed: np.ndarray) -> tuple[str, str]:
    rng, draws = np.random.default_rng(0), []
    for _ in range(DRAWS):
        rounds = rng.integers(own.shape[1], size=own.shape[1])  # shared: all take turns in one round
        a, b = (each[rng.integers(COPIES, size=COPIES)][:, rounds] for each in (own, fixed))
        draws.append(typical(a) / typical(b))
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{typical(own) / typical(fixed):.3f}", f"{low:.3f}-{high:.3f}"


if __name__ == "__main__":
    main()
