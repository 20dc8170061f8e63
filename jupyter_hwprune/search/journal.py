"""What a search has measured, on disk as it goes: one that is interrupted finds it again and goes on where it was.

A file for each model, input, toolchain and machine holds a line of JSON for each scan and each measured plan. The
copies that the table is made of stay for later searches; the rounds are measured anew by the next search.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ..core.errors import ReportError
from ..core.example import Example
from ..pruning import fingerprint
from ..pruning.prepared import Prepared
from ..report import Sensitivity, codec
from ..toolchains.process import CACHE
from .reading import Reading

VERSION = 1
Purpose = Literal["table", "round", "scan"]


@dataclass
class Journal:
    """The lines of one file by their part and name; `found` counts those that were read again and used."""

    path: Path
    found: int = 0
    _lines: dict[tuple[str, str], Any] = field(default_factory=dict)

    @classmethod
    def of(cls, ready: Prepared, scored: object) -> Journal:
        """Open the journal for what is searched, on this machine with this version of the toolchain.

        `scored` tells one score from another: its name, and what it gives for the dense model.
        """
        journal = cls(CACHE / "searches" / f"{_key(ready, scored)}.jsonl")
        journal._lines = dict(_read(journal.path))
        return journal

    def reading(self, part: Purpose, name: str) -> Reading | None:
        """Return what was measured of a plan before; None if nothing was."""
        known = self._lines.get((part, name))
        if known is None:
            return None
        try:
            reading: Reading = codec.structure(known, Reading)
        except ReportError:
            return None
        self.found += 1
        return reading

    def keep(self, part: Purpose, name: str, value: Any) -> None:
        """Write one line at once. A disk that takes none costs only the way back after an interrupt."""
        data = codec.unstructure(value)
        self._lines[part, name] = data
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # on a line of its own, even if the line before was cut short
                file.write("\n" + json.dumps({"part": part, "name": name, "data": data}) + "\n")

    def scan(self, name: str, make: Callable[[], Sensitivity]) -> Sensitivity:
        """Return the scan that was made before, or make it and keep it."""
        known = self._lines.get(("scan", name))
        if known is not None:
            with contextlib.suppress(ReportError):
                found: Sensitivity = codec.structure(known, Sensitivity)
                return found
        made = make()
        self.keep("scan", name, made)
        return made

    def finish(self) -> None:
        """Forget the rounds: the search has ended, and the next one measures them anew."""
        self._lines = {key: data for key, data in self._lines.items() if key[0] != "round"}
        lines = [json.dumps({"part": part, "name": name, "data": data}) for (part, name), data in self._lines.items()]
        with contextlib.suppress(OSError):
            new = self.path.with_suffix(".new")
            new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            new.replace(self.path)


def _read(path: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    """Read the lines; the last one may be cut short where the process was killed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for line in text.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            yield (row["part"], row["name"]), row["data"]


def _key(ready: Prepared, scored: object) -> str:
    choice = ready.choice
    versions = {} if choice.status is None else choice.status.versions
    device, method = choice.found, ready.method
    inputs = (ready.inputs, *ready.calibration)
    asked: list[object] = [VERSION, fingerprint(ready.start), scored, *map(_digest, inputs)]
    asked += [
        choice.target.name,
        choice.judge.toolchain,
        choice.judge.device,
        choice.dtype,
        choice.quantise,
        choice.int8_error,
    ]
    asked += [choice.threads, str(choice.pattern), method.importance, method.allocation, method.dense]
    asked += [sorted(versions.items()), device and (device.label, device.identities)]
    return hashlib.blake2b(repr(asked).encode(), digest_size=12).hexdigest()


def _digest(example: Example) -> str:
    """Hash the tensors of an input: what the scan loses, and what BatchNorm sees, follows from their values."""
    digest = hashlib.blake2b(digest_size=12)
    for tensor in example.tensors:
        values = tensor.detach().cpu().contiguous().flatten()
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(values.view(torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()
