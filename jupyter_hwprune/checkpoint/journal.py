"""The folder of the pruned model while it is written: its shards, the activations on disk, and what is done so far.

After each block its shard, then the activations that it gives, then the journal are written, each under another name
first: a run that ends at any moment goes on with the first block that the journal does not hold.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import InputError, first_line
from ..report import Layer, PrunedBlock, Sensitivity, Skipped, codec
from .source import INDEX, Source

WORK, JOURNAL, SCAN, REPORT = "hwprune-work", "journal.json", "scan.json", "hwprune-report.json"
COPIED = {".json", ".txt", ".model", ".jinja", ".md", ".tiktoken", ""}

Stream = Literal["dense", "pruned"]


@dataclass(frozen=True)
class Done:
    """What became of one block."""

    block: PrunedBlock
    layers: tuple[Layer, ...]
    skipped: tuple[Skipped, ...]
    raised: dict[str, float] = field(default_factory=dict)  # damping of a layer's Hessian, where it was too small


class Output:
    """The folder `--out`, of `files` safetensors files in all."""

    def __init__(self, folder: Path, files: int, done: list[Done]) -> None:
        self.folder, self.work, self.files, self.done = folder, folder / WORK, files, done

    @classmethod
    def of(cls, out: str | Path, source: Source, files: int, asked: Mapping[str, Any]) -> Output:
        """Make the folder, or take up what an earlier run of the same line left; raises InputError for others."""
        folder = Path(out).expanduser().absolute()
        if folder == source.folder or source.folder in folder.parents:
            raise InputError(f"--out {out} is in the folder that is read. Give another one: the model there stays.")
        path = folder / WORK / JOURNAL
        if path.is_file():
            return cls(folder, files, _taken_up(path, out, asked))
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            what = "holds a pruned model" if (folder / REPORT).is_file() else "is not empty"
            raise InputError(f"--out {out} {what}. Give a new folder, or remove this one.")
        made = cls(folder, files, [])
        try:
            made.work.mkdir(parents=True)
            made._note(asked)
        except OSError as error:
            raise InputError(f"--out {out} cannot be written: {first_line(error)}. Give another folder.") from error
        return made

    def write(self, at: int, tensors: dict[str, Tensor]) -> None:
        """Write the file `at`, counted from 1."""
        path = self._file(at)
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata={"format": "pt"})
        part.replace(path)

    def note(self, done: Done, asked: Mapping[str, Any]) -> None:
        """Note a block as done, and remove the activations that went into it."""
        self.done.append(done)
        self._note(asked)
        shutil.rmtree(self._activations(len(self.done) - 1), ignore_errors=True)

    def keep(self, number: int, stream: Stream, at: int, hidden: Tensor) -> None:
        """Write the input of block `number` for a batch, float32."""
        folder = self._activations(number)
        folder.mkdir(exist_ok=True)
        np.save(folder / f"{stream}-{at}.npy", hidden.detach().float().numpy())

    def kept(self, number: int, stream: Stream, at: int) -> Tensor:
        return torch.from_numpy(np.load(self._activations(number) / f"{stream}-{at}.npy"))

    def remembered(self, make: Callable[[], Sensitivity]) -> Sensitivity:
        """Return the scan that an earlier run made, or make and keep one."""
        path = self.work / SCAN
        if not path.is_file():
            _replace(path, json.dumps(codec.unstructure(make())))
        found: Sensitivity = codec.structure(json.loads(path.read_text(encoding="utf-8")), Sensitivity)
        return found

    def finish(self, source: Source, rest: Sequence[Sequence[str]], blocks: Sequence[Sequence[str]]) -> int:
        """Copy all else of the model, the files `rest` before the blocks; return the bytes of all weights."""
        for at, names in enumerate(rest, 1):
            self.write(at, {name: source.read(name) for name in names})
        for path in source.folder.iterdir():
            if path.is_file() and path.suffix in COPIED and path.name not in {INDEX, REPORT}:
                shutil.copyfile(path, self.folder / path.name)
        weight_map = {name: self._file(at).name for at, names in enumerate([*rest, *blocks], 1) for name in names}
        total = source.bytes_of(weight_map)
        _replace(self.folder / INDEX, json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
        return total

    def end(self) -> None:
        shutil.rmtree(self.work)

    def _file(self, at: int) -> Path:
        return self.folder / f"model-{at:05}-of-{self.files:05}.safetensors"

    def _activations(self, number: int) -> Path:
        return self.work / f"into-{number}"

    def _note(self, asked: Mapping[str, Any]) -> None:
        data = {"asked": dict(asked), "done": [codec.unstructure(each) for each in self.done]}
        _replace(self.work / JOURNAL, json.dumps(data))


def groups_of(source: Source, names: Sequence[str], most: int) -> list[list[str]]:
    """Cut tensors into files of at most so many bytes, or one tensor."""
    groups: list[list[str]] = []
    size = 0
    for name in names:
        own = source.tensors[name].bytes
        if not groups or size + own > most:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += own
    return groups


def _taken_up(path: Path, out: str | Path, asked: Mapping[str, Any]) -> list[Done]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        before, done = data["asked"], [codec.structure(each, Done) for each in data["done"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({first_line(error)}). Remove {out}, and begin anew.") from None
    other = [name for name in asked if before.get(name) != asked[name]]
    if other:
        raise InputError(
            f"--out {out} holds an unfinished run with another {other[0]} ({before.get(other[0])}, and now "
            f"{asked[other[0]]}). Give what it had, to go on with block {len(done)}, or another folder."
        )
    return done


def _replace(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
