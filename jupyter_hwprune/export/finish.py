"""Finish an ONNX file for those who deploy it: the model's own names, where it comes from, and any batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..core.copying import copied
from ..core.errors import first_line
from ..core.example import Example
from .batch import close_batch, open_batch
from .cases import Case, Rows
from .onnx import Exported
from .program import is_narrow
from .shapes import FixedBatchError

C = TypeVar("C", bound=Case)
OTHERS = (1, 3)
"""The batches, beside the example's own, at which a file that takes any has to compute what torch does."""


def finish(
    case: Exported, example: Example, outputs: Sequence[str], said: Mapping[str, str], *, opens: bool
) -> Exported:
    """Name the outputs as the model does, write `said` into the file, and let it take any batch if `opens`.

    The case says what stands against another batch, if anything does.
    """
    import onnx

    proto, path = _read(case.model), case.model
    renamed = _name_outputs(proto.graph, outputs)
    case = replace(
        case,
        values={scope: renamed.get(value, value) for scope, value in case.values.items()},
        outputs={name: value for value, name in renamed.items()},
    )
    if opens:
        rows = [
            name for name, tensor in zip(case.input_names, example.tensors, strict=True) if _has_rows(tensor, example)
        ]
        try:
            proto = open_batch(proto, rows, example.batch)
            case = replace(case, batch=example.batch)
        except FixedBatchError as error:
            case = replace(case, fixed=str(error))
    known = {each.key: each.value for each in proto.metadata_props}
    onnx.helper.set_model_props(proto, known | dict(said))
    _write(proto, path)
    return case


def with_other_batches(case: Exported, model: nn.Module, example: Example) -> Exported:
    """Write inputs and torch's outputs for other batches beside an open case; close it where torch itself fails."""
    own = copied(model).eval()
    if is_narrow(own):
        own, example = own.float(), example.as_float32()
    others = []
    for batch in OTHERS:
        if batch == example.batch:
            continue
        given = _of_other_rows(example, batch)
        try:
            expected = given.outputs(own)
        except Exception as error:  # noqa: BLE001 - a forward may raise anything
            return closed(case, f"the model's own forward fails on a batch of {batch}: {first_line(error)}")
        stem = case.model.with_suffix("")
        rows = Rows(batch, Path(f"{stem}.rows-{batch}.inputs.npz"), Path(f"{stem}.rows-{batch}.expected.npz"))
        np.savez(rows.inputs, *(tensor.numpy() for tensor in given.tensors))
        np.savez(rows.expected, *(tensor.numpy() for tensor in expected))
        others.append(rows)
    return replace(case, others=tuple(others))


def closed(case: C, why: str) -> C:
    """Fix the batch of a case's file at the example's again, in place."""
    assert case.batch is not None
    proto = _read(case.model)
    close_batch(proto, case.batch)
    _write(proto, case.model)
    return replace(case, batch=None, fixed=why, others=())


def _of_other_rows(example: Example, batch: int) -> Example:
    """Return the example with `batch` rows, each shifted by its number along the last axis.

    Rows that are alike would hide that one is taken for another; shifted, they hold values that the model takes.
    """
    given = example.rebatched(batch)

    def shifted(tensor: Tensor) -> Tensor:
        if tensor.ndim < 2 or tensor.shape[0] != batch:
            return tensor
        return torch.stack([row.roll(place, -1) for place, row in enumerate(tensor)])

    return given.changed(shifted)


def _has_rows(tensor: Any, example: Example) -> bool:
    return bool(tensor.ndim) and tensor.shape[0] == example.batch


def _name_outputs(graph: Any, outputs: Sequence[str]) -> dict[str, str]:
    """Call a graph's outputs as the model does, in place; return the new name of each, none where one is taken."""
    own = [name or "output" for name in outputs]
    before = [value.name for value in graph.output]
    made = {value for node in graph.node for value in node.output}
    taken = made | {value for node in graph.node for value in node.input} | {value.name for value in graph.input}
    renamed = dict(zip(before, own, strict=False))
    if len(own) != len(before) or len({*own}) != len(renamed) or not made.issuperset(before) or taken & {*own}:
        return {}
    for value in (*graph.output, *graph.value_info):
        value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [renamed.get(value, value) for value in node.input]
        node.output[:] = [renamed.get(value, value) for value in node.output]
    return renamed


def _read(path: Path) -> Any:
    """Read a model, without the weights that lie in a file of their own."""
    import onnx

    return onnx.load(str(path), load_external_data=not path.with_name(f"{path.name}.data").exists())


def _write(proto: Any, path: Path) -> None:
    """Replace the file, which may be a copy of one that is read elsewhere."""
    import onnx

    part = path.with_name(f"{path.name}.part")
    onnx.save(proto, str(part))
    part.replace(path)
