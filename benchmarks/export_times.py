"""Time all files of one network in one runtime: `python -m benchmarks.export_times RUNTIME FOLDER SECONDS`.

Every file is compiled several times, since two compilations of one file differ. All copies take turns in a shuffled
order, and each turn starts with a call that is not counted. Times are CPU seconds of the process, with one thread.
Prints JSON: {file: {"ms": [a list of rounds for each copy]} or {"error": why it was not timed}}.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

COPIES, LEAST_ROUNDS, MOST_ROUNDS = 2, 6, 60
BLOCK_S = 0.01
TOLERANCE = 1e-3  # of the largest output; a wrong file is no peer

Call = Callable[[], Any]


def main() -> None:
    runtime, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    inputs = list(np.load(folder / "inputs.npz").values())
    expected = np.load(folder / "expected.npz")["arr_0"]
    calls: dict[tuple[str, int], Call] = {}
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES[runtime]):
        try:
            made = [RUNTIMES[runtime](path, inputs) for _ in range(COPIES)]
            worst = float(np.abs(made[0]() - expected).max() / np.abs(expected).max())
        except Exception as error:  # noqa: BLE001 - what a runtime refuses is a row of the table
            found[path.stem] = {"error": str(error).strip()[:200]}
            continue
        if not worst < TOLERANCE:
            found[path.stem] = {"error": f"wrong outputs, by {worst:.2g} of the largest"}
            continue
        found[path.stem] = {"ms": [[] for _ in range(COPIES)]}
        calls |= {(path.stem, copy): call for copy, call in enumerate(made)}
    for (name, copy), ms in timed(calls, seconds).items():
        found[name]["ms"][copy] = ms
    print(json.dumps(found))


def timed(calls: dict[tuple[str, int], Call], seconds: float) -> dict[tuple[str, int], list[float]]:
    times: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    count = {key: calls_in_block(call) for key, call in calls.items()}
    order, end, rounds = list(calls), time.perf_counter() + seconds, 0
    gc.disable()
    while rounds < LEAST_ROUNDS or (rounds < MOST_ROUNDS and time.perf_counter() < end):
        random.Random(rounds).shuffle(order)  # noqa: S311 - an order, not a secret
        for key in order:
            call = calls[key]
            call()
            start = time.process_time()
            for _ in range(count[key]):
                call()
            times[key].append(round((time.process_time() - start) / count[key] * 1e3, 5))
        rounds += 1
    return times


def calls_in_block(call: Call) -> int:
    call()
    start = time.process_time()
    call()
    return max(1, round(BLOCK_S / max(time.process_time() - start, 1e-6)))


def onnxruntime_of(path: Path, inputs: list[np.ndarray]) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {port.name: value for port, value in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feed)[0]


def openvino_of(path: Path, inputs: list[np.ndarray]) -> Call:
    import openvino

    config = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", config)
    request = compiled.create_infer_request()
    for port, value in zip(compiled.inputs, inputs, strict=True):
        request.set_tensor(port, openvino.Tensor(value))

    def call() -> np.ndarray:
        request.infer()
        output: np.ndarray = request.get_output_tensor(0).data
        return output

    return call


RUNTIMES: dict[str, Callable[[Path, list[np.ndarray]], Call]] = {"onnxruntime": onnxruntime_of, "openvino": openvino_of}
SUFFIXES = {"onnxruntime": {".onnx"}, "openvino": {".onnx", ".xml"}}

if __name__ == "__main__":
    main()
