"""Write one network each way that `benchmarks.export` compares: `python -m benchmarks.export_files NETWORK FOLDER`.

With the name of one way behind, only that file is written, and the others stay. What fails is named in `failures.json`
with its error; `inputs.npz` and `expected.npz` are torch's.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.export_library import NETWORKS
from benchmarks.export_nets import Network
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.export.onnx import export_onnx

OURS = "ours"
EXPORTERS = {"torch": True, "torch, older": False}  # `dynamo` of torch.onnx.export, and nothing else
FILE = "onnx"
IR = "openvino.convert_model"
NO_FILE = "the exporter wrote no file"


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = NETWORKS[name]
    model, inputs = network.build().eval(), network.inputs()
    with torch.no_grad():
        expected = model(*inputs)
    np.savez(folder / "inputs.npz", *(tensor.numpy() for tensor in inputs))
    np.savez(folder / "expected.npz", expected.numpy())
    said = folder / "failures.json"
    failures: dict[str, str] = json.loads(said.read_text()) if said.exists() else {}
    for who, write in writers(network, model, inputs, folder):
        if who not in (sys.argv[3:] or [who]):
            continue
        failures.pop(who, None)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                write()
        except Exception as error:  # noqa: BLE001 - what a peer cannot write is a row of the table
            first, *_ = [*str(error).strip().splitlines(), ""]
            failures[who] = f"{type(error).__name__}: {first}"[:200]
    said.write_text(json.dumps(failures))


Writer = tuple[str, Callable[[], Any]]


def writers(network: Network, model: nn.Module, inputs: tuple[Tensor, ...], folder: Path) -> Iterator[Writer]:
    yield OURS, partial(export_onnx, model, Example.of(inputs), folder, OURS)
    for who, dynamo in EXPORTERS.items():
        path = folder / f"{who}.{FILE}"
        yield who, partial(torch.onnx.export, model, inputs, path, dynamo=dynamo)
        yield f"{who} + onnxsim", partial(simplified, path)
        yield f"{who} + onnxslim", partial(slimmed, path)
        if network.transformer is not None:
            yield f"{who} + transformers.optimizer", partial(transformed, path, network)
    yield IR, partial(converted, model, inputs, folder / f"{IR}.xml")


def simplified(path: Path) -> None:
    import onnx
    import onnxsim

    if not path.exists():
        raise FileNotFoundError(NO_FILE)
    done, same = onnxsim.simplify(onnx.load(path))
    if not same:
        raise RuntimeError("onnxsim's own check of the file failed")
    onnx.save(done, path.with_name(f"{path.stem} + onnxsim.{FILE}"))


def slimmed(path: Path) -> None:
    import onnx
    import onnxslim

    if not path.exists():
        raise FileNotFoundError(NO_FILE)
    onnx.save(onnxslim.slim(onnx.load(path)), path.with_name(f"{path.stem} + onnxslim.{FILE}"))


def transformed(path: Path, network: Network) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    if not path.exists():
        raise FileNotFoundError(NO_FILE)
    done = optimize_model(str(path), model_type=network.transformer, num_heads=network.heads, hidden_size=network.width)
    done.save_model_to_file(str(path.with_name(f"{path.stem} + transformers.optimizer.{FILE}")))


def converted(model: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> None:
    import openvino

    shapes = [list(tensor.shape) for tensor in inputs]
    done = openvino.convert_model(model, example_input=inputs, input=shapes)
    openvino.save_model(done, path, compress_to_fp16=False)


if __name__ == "__main__":
    main()
