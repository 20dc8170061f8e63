"""The folder of a transformers model: what its files say of themselves, and their tensors, read one at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..core.errors import InputError, first_line

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NEEDS = (
    "--from takes the folder of a transformers model, as save_pretrained writes it: config.json and safetensors files"
)


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def numel(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True)
class Source:
    """`tensors` are those of all files, by name, in the files' order."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]

    @classmethod
    def of(cls, folder: str | Path) -> Source:
        """Read the headers of a folder's files; raises InputError for a folder that is not whole, or none."""
        root = Path(folder).expanduser().absolute()
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise InputError(f"--from {folder}: that folder {what}. {NEEDS}.")
        config = _config(root)
        if "quantization_config" in config:
            raise InputError(
                f"The weights in {folder} are quantised already ({_method(config)}), and zeros are found in weights of "
                "floating point. Give the folder of the model before it was quantised."
            )
        tensors: dict[str, Stored] = {}
        for path, named in _files(root).items():
            found = _header(path)
            if missing := [name for name in named if name not in found]:
                raise InputError(
                    f"{INDEX} in {folder} says that {missing[0]} is in {path.name}, where it is not, so the folder is "
                    "not whole. Copy or download it again."
                )
            tensors |= found
        return cls(root, config, tensors)

    def read(self, name: str) -> Tensor:
        """Return a copy of one tensor; the file is closed again, so that no page of it stays in memory."""
        with safe_open(self.tensors[name].file, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor.clone()

    def bytes_of(self, names: Iterable[str]) -> int:
        return sum(self.tensors[name].bytes for name in names)

    @property
    def fingerprint(self) -> str:
        """Hash what tells these files from others, without reading them: names, shapes, sizes and times of change."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, each in self.tensors.items():
            digest.update(f"{name} {each.shape} {each.dtype} {each.file.stat().st_mtime_ns}".encode())
        return digest.hexdigest()[:16]


def _config(root: Path) -> dict[str, Any]:
    path = root / CONFIG
    if not path.is_file():
        raise InputError(f"There is no {CONFIG} in {root}. {NEEDS}.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {first_line(error)}. {NEEDS}.") from None
    if not isinstance(config, dict):
        raise InputError(f"{path} holds no JSON object, so it says nothing of the model. {NEEDS}.")
    return config


def _method(config: Mapping[str, Any]) -> str:
    said = config["quantization_config"]
    return str(said.get("quant_method", "in a way it does not name"))[:40] if isinstance(said, dict) else "in some way"


def _files(root: Path) -> dict[Path, list[str]]:
    """Return the safetensors files, each with the names that the index says it holds."""
    index = root / INDEX
    if not index.is_file():
        if (root / SINGLE).is_file():
            return {root / SINGLE: []}
        others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf") for path in root.glob(pattern))
        found = f"It holds {others[0]}: write it anew with save_pretrained" if others else NEEDS
        raise InputError(f"There is neither {SINGLE} nor {INDEX} in {root}. {found}.")
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files: dict[Path, list[str]] = {}
        for name, file in named.items():
            files.setdefault(root / Path(str(file)).name, []).append(name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} cannot be read as an index of files: {first_line(error)}. {NEEDS}.") from None
    if missing := [path.name for path in files if not path.is_file()]:
        raise InputError(
            f"{INDEX} in {root} names {missing[0]}, which is not there ({len(missing)} of {len(files)} files are "
            "missing). Copy or download the folder again."
        )
    return files


def _header(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="pt") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                part = file.get_slice(name)
                if part.get_dtype() not in TYPES:
                    raise InputError(
                        f"{name} in {path} is of type {part.get_dtype()}, in which no zeros are found. Give the folder "
                        f"of the model in one of {', '.join(TYPES)}."
                    )
                found[name] = Stored(path, tuple(part.get_shape()), TYPES[part.get_dtype()])
            return found
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} is no whole safetensors file: {first_line(error)}. Copy or download it again."
        ) from None
