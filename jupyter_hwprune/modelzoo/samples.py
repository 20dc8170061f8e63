"""Choose the inputs to measure an ONNX model on: a folder's samples, or random inputs of the right shapes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError, first_line

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Port:
    """An input of the graph; None is an open dimension, which a file names or leaves out."""

    name: str
    dtype: np.dtype[Any]
    sides: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name} is {'x'.join(str(side or '?') for side in self.sides)}"


@dataclass(frozen=True)
class Inputs:
    arrays: Sample
    batch: int
    remarks: tuple[str, ...]


def ports_of(graph: Any) -> list[Port]:
    from onnx import helper

    ports = []
    for given in graph.input:
        tensor = given.type.tensor_type
        if not given.type.HasField("tensor_type"):
            raise InputError(f"The model's input {given.name} is not a tensor; such a model cannot be measured.")
        sides = tuple(side.dim_value or None for side in tensor.shape.dim)
        ports.append(Port(given.name, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), sides))
    return ports


def read_samples(paths: Sequence[str]) -> list[Sample]:
    """Read .npz files; raises InputError for one that is damaged."""
    samples = []
    for path in paths:
        try:
            with np.load(path, allow_pickle=False) as file:
                samples.append({name: file[name] for name in file.files})
        except Exception as error:
            name = f"{Path(path).parent.name}/{Path(path).name}"
            raise InputError(
                f"The sample {name} of this folder cannot be read: {first_line(error)}. Get it again, or remove the "
                "folder of samples; the model is then measured on random inputs."
            ) from error
    return samples


def inputs_for(ports: Sequence[Port], samples: Sequence[Sample], batch: int | None) -> Inputs:
    """Return one batch of inputs: the samples in turn, or random ones; raises InputError if samples do not fit."""
    rows = _rows(ports, batch)
    if not samples:
        return _random(ports, rows)
    arrays = {}
    for position, port in enumerate(ports):
        own = [_of_port(sample, port, position, len(ports)) for sample in samples]
        stacked = stack(own, len(port.sides), rows) if port.sides else own[0]
        if stacked is None or any(want not in (None, n) for want, n in zip(port.sides, stacked.shape, strict=True)):
            raise InputError(
                f"The samples of this folder do not fit its model: the input {port}, but its first sample is "
                f"{'x'.join(map(str, own[0].shape))}. Remove the folder sample-inputs, or give its own model; without "
                "samples the inputs are random."
            )
        arrays[port.name] = stacked.astype(port.dtype)
    return Inputs(arrays, rows, (f"The inputs are the folder's own samples, {min(len(samples), rows)} of them.",))


def stack(arrays: Sequence[np.ndarray], dimensions: int, rows: int) -> np.ndarray | None:
    """Join samples to an array of `rows` rows, starting over when they run out; None if they do not fit.

    A sample may come with or without a batch dimension.
    """
    whole = [array if array.ndim == dimensions else array[None] for array in arrays]
    if any(array.ndim != dimensions or array.shape[1:] != whole[0].shape[1:] or not len(array) for array in whole):
        return None
    joined = np.concatenate(whole)
    return joined[np.arange(rows) % len(joined)]


def _rows(ports: Sequence[Port], batch: int | None) -> int:
    """Return the batch size: the one fixed in the file, else the requested one, else 1."""
    fixed = next((port.sides[0] for port in ports if port.sides and port.sides[0] is not None), None)
    if fixed is not None and batch is not None and batch != fixed:
        raise InputError(
            f"--batch is {batch}, but this model's file fixes its batch at {fixed}. Remove --batch, or export the "
            "model with an open batch."
        )
    return fixed or batch or 1


def _of_port(sample: Sample, port: Port, position: int, ports: int) -> np.ndarray:
    """Find the array for an input by name, or by position if there are as many arrays as inputs."""
    if port.name in sample:
        return sample[port.name]
    if len(sample) != ports:
        raise InputError(
            f"The samples of this folder have no array for the model's input {port.name}: they hold "
            f"{', '.join(sample)}. Remove the folder sample-inputs: without samples the inputs are random."
        )
    return list(sample.values())[position]


def _random(ports: Sequence[Port], rows: int) -> Inputs:
    """Draw inputs: floats around 0, bytes of any value, and 0 or 1 for integers, which may be indices or masks."""
    random = np.random.default_rng(0)
    arrays, remarks = {}, ["The inputs are random: the folder has no samples."]
    for port in ports:
        shape = [side or (1 if place else rows) for place, side in enumerate(port.sides)]
        if None in port.sides[1:]:
            remarks.append(f"The input {port}: its open dimensions after the first were set to 1.")
        whole = random.integers(0, 256 if port.dtype == np.uint8 else 2, shape)
        drawn = np.asarray(random.standard_normal(shape) if port.dtype.kind == "f" else whole)
        arrays[port.name] = drawn.astype(port.dtype)
    return Inputs(arrays, rows, tuple(remarks))
