"""What earlier calls have measured, in the user's cache folder: by the model's structure, the machine, the toolchain.

Weights are not part of the key: the time of a shape does not depend on them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace

from torch import nn
from torch.fx import GraphModule

from ...choose.choice import Choice
from ...choose.effort import Effort
from ...core.errors import ReportError
from ...core.example import Example
from ...core.tracing import program_of
from ...report import codec
from ...toolchains.process import CACHE
from .rows import Advised

FOLDER = CACHE / "advice"
FORMAT = 1  # of the files; another one is not read


def structure_of(model: nn.Module, example: Example) -> str | None:
    """Hash the graph and the shapes of all its tensors, without their values; None if torch cannot trace the model."""
    try:
        program = program_of(model, example)
    except Exception:  # noqa: BLE001 - whatever stops the trace, nothing is remembered then
        return None
    digest = hashlib.sha256()
    for graph in program.graph_module.modules():
        if isinstance(graph, GraphModule):
            digest.update(graph.code.encode())
    tensors = [*program.state_dict.items(), *program.constants.items(), *(("", each) for each in example.tensors)]
    digest.update(repr([(name, getattr(t, "shape", t), getattr(t, "dtype", "")) for name, t in tensors]).encode())
    digest.update(repr([(name, type(module).__name__) for name, module in model.named_modules()]).encode())
    return digest.hexdigest()


class Memory:
    """The rows of one structure with one toolchain on this machine; without a `structure` nothing is kept or found."""

    def __init__(self, structure: str | None, choice: Choice, effort: Effort, *, fresh: bool) -> None:
        status, judge = choice.status, choice.judge
        assert status is not None
        device = status.devices.get(judge.device)
        own: list[object] = [
            FORMAT,
            structure,
            choice.target.name,
            asdict(effort),
            choice.dtype,
            choice.threads,
            choice.way,
            choice.configured,
        ]
        own += [judge.toolchain, judge.device, device and device.label, sorted(status.versions.items()), status.cores]
        name = hashlib.sha256(repr(own).encode()).hexdigest()[:32]
        self._path = None if structure is None else FOLDER / f"{name}.json"
        self._known = {} if fresh else self._read()

    def rows(self, trial: str) -> list[Advised]:
        return [replace(row, remembered=True) for row in self._known.get(trial, [])]

    def keep(self, trial: str, rows: Iterable[Advised]) -> None:
        self._known[trial] = list(rows)
        if self._path is None:
            return
        data = {key: [codec.unstructure(row) for row in known] for key, known in (self._read() | self._known).items()}
        part = self._path.with_suffix(f".{os.getpid()}.part")
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(data), encoding="utf-8")
            part.replace(self._path)

    def _read(self) -> dict[str, list[Advised]]:
        if self._path is None:
            return {}
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            return {key: [codec.structure(row, Advised) for row in rows] for key, rows in data.items()}
        except (OSError, ValueError, AttributeError, TypeError, ReportError):  # none, or damaged
            return {}
