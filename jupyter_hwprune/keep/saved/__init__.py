"""Save a run as a folder without code: the weights, the zeros as bits, and a list of contents in JSON.

| file                | holds                                                                                    |
|---------------------|------------------------------------------------------------------------------------------|
| weights.safetensors | the pruned model's state; a tensor with several names is stored once                     |
| masks.safetensors   | the mask of each layer with zeros, one bit per weight, 1 = kept                          |
| files/              | the compiled files                                                                       |
| contents.json       | the report; each tensor's dense shape and positions kept; sizes and SHA-256 of the files |
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...core.errors import InputError, ReportError, first_line
from ...core.interrupts import unbroken
from ...pruning.depth import remove_blocks
from ...pruning.layers import weight_name
from ...report import Layer, Report, codec, to_data
from ...toolchains.folders import remove
from .files import CONTENTS, FILES, MASKS, WEIGHTS, File, copy_artifacts, damaged, require_whole, sha256
from .structure import Structure, cut, lacking, misfits, named_tensors, shared_names

FORMAT, VERSION = "jupyter-hwprune run", 1
LARGEST_CONTENTS_BYTES = 1 << 28
FAILURES = (OSError, SafetensorError)
ROUNDING = 1e-6  # of the sparsities in a report


@dataclass(frozen=True)
class Contents:
    """The list of contents; `package` is the version of this package that wrote it.

    `artifacts` are names of the compiled files by their short names.
    """

    package: str
    structure: Structure
    files: dict[str, File]
    artifacts: dict[str, str] = field(default_factory=dict)


def save(
    folder: str | Path, model: nn.Module, report: Report, structure: Structure | None, artifacts: Mapping[str, Path]
) -> None:
    """Write to a temporary folder next to the target, and move it there when it is complete.

    Raises InputError if it cannot be written, or if something else is there.
    """
    if structure is None:
        raise InputError(
            "This run removed single positions inside its weights, not whole rows and columns, and the saved format "
            "cannot describe that. Keep the model itself: torch.save(run.model, path)."
        )
    _require_as_reported(model, report, structure)
    target = Path(folder).expanduser().absolute()
    _require_free(target)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        aside.mkdir()
        state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _state(model).items()}
        save_file(state, aside / WEIGHTS, metadata={"format": "pt"})
        save_file(_masks(model, report), aside / MASKS, metadata={"format": "pt"})
        copy_artifacts(artifacts, aside / FILES)
        (aside / CONTENTS).write_text(_contents_text(aside, report, structure, artifacts), encoding="utf-8")
        for name in (WEIGHTS, MASKS):  # safetensors makes them readable by this user only
            (aside / name).chmod((aside / CONTENTS).stat().st_mode)
        _move(aside, target)
    except FAILURES as error:
        raise InputError(
            f"The run cannot be saved in {folder}: {first_line(error)}. Nothing was left there; choose a folder that "
            "can be written, on a disk with room for the model."
        ) from error
    finally:
        remove(aside)


def _require_free(target: Path) -> None:
    """Refuse a place that holds anything but an earlier run, which may be replaced."""
    try:
        if not target.exists():
            return
        names = {path.name for path in target.iterdir()}
        if not names or (names <= {CONTENTS, WEIGHTS, MASKS, FILES} and _read_json(target).get("format") == FORMAT):
            return
    except (OSError, ReportError) as error:
        raise InputError(f"The run cannot be saved in {target}: {first_line(error)}. Choose another folder.") from None
    raise InputError(f"{target} holds files that are not a saved run; they stay as they are. Choose another folder.")


def _require_as_reported(model: nn.Module, report: Report, structure: Structure) -> None:
    """Refuse a model that was changed so that the report is no longer true."""
    own = dict(named_tensors(model))
    odd = [name for name, dims in structure.tensors.items() if name not in own or own[name].shape != dims.pruned_shape]
    if odd:
        raise _no_longer_as_reported(odd)
    zeros_of(model, report)


def zeros_of(model: nn.Module, report: Report) -> dict[str, Tensor]:
    """Return the mask of each pruned weight, True where it is kept; raises InputError if zeros of the report are gone.

    Removed channels have no mask: they are no longer there.
    """
    own = dict(named_tensors(model))
    keep = {name: own[name].detach() != 0 for name in _zeroed(model, report) if name in own}
    odd = [
        name
        for name, layer in _zeroed(model, report).items()
        if name not in keep or 1 - int(keep[name].count_nonzero()) / keep[name].numel() < layer.sparsity - ROUNDING
    ]
    if odd:
        raise _no_longer_as_reported(odd)
    return keep


def _no_longer_as_reported(odd: list[str]) -> InputError:
    return InputError(
        f"The report no longer describes the model ({', '.join(odd[:4])}): its zeros or shapes have changed, for "
        "example by training without holding the zeros. Run it again, and train inside `with run.hold():`, with the "
        "training as the cell under %%hwprune, or as finetune=."
    )


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model's state, each once, under its first name."""
    shared, persistent = shared_names(model), model.state_dict().keys()
    return {name: tensor for name, tensor in named_tensors(model) if name in persistent and name not in shared}


def _masks(model: nn.Module, report: Report) -> dict[str, Tensor]:
    """Return the mask of each pruned weight as bits. -> uint8 [weights / 8, rounded up]."""
    kept = zeros_of(model, report)
    return {name: torch.from_numpy(np.packbits(keep.flatten().cpu().numpy())) for name, keep in kept.items()}


def _zeroed(model: nn.Module, report: Report) -> dict[str, Layer]:
    return {weight_name(model, layer.name): layer for layer in report.layers if layer.shape == layer.pruned_shape}


def _contents_text(folder: Path, report: Report, structure: Structure, artifacts: Mapping[str, Path]) -> str:
    from ... import __version__

    compiled = [f"{FILES}/{path.name}" for path in sorted((folder / FILES).glob("*"))]
    files = {name: File((folder / name).stat().st_size, sha256(folder / name)) for name in (WEIGHTS, MASKS, *compiled)}
    named = {kind: path.name for kind, path in artifacts.items()}
    content = codec.unstructure(Contents(__version__, structure, files, named)) | {"report": to_data(report)}
    head = {"format": FORMAT, "version": VERSION, "sha256": _digest(content)}
    return json.dumps(head | {"content": content}, allow_nan=False)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _move(aside: Path, target: Path) -> None:
    """Move the folder to its place; delete an earlier run there only after that."""
    if not target.exists():
        aside.rename(target)
        return
    earlier = aside.with_name(f"{aside.name}.earlier")
    target.rename(earlier)
    try:
        aside.rename(target)
    except BaseException:
        with unbroken():
            earlier.rename(target)
        raise
    remove(earlier)


def read(folder: str | Path) -> tuple[Contents, Report]:
    """Read contents.json; raises ReportError when it is missing, damaged, or of another version."""
    data = _read_json(Path(folder).expanduser())
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        found = f"{str(data.get('format'))[:40]} {str(data.get('version'))[:20]}"
        raise ReportError(
            f"{folder} says that it is {found}; this package reads {FORMAT} {VERSION}. Install the jupyter-hwprune "
            "that wrote it, or save the run again."
        )
    content = data.get("content")
    if not isinstance(content, dict) or data.get("sha256") != _digest(content):  # detects any change, even of a number
        raise damaged(folder, CONTENTS, "its content is not what its checksum says")
    report = Report.from_json(json.dumps(content.pop("report", None)))
    try:
        return codec.structure(content, Contents), report
    except ReportError as error:
        raise damaged(folder, CONTENTS, str(error).partition(": ")[2].rstrip(".")) from None


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / CONTENTS
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_CONTENTS_BYTES + 1)
    except OSError as error:
        raise ReportError(f"There is no saved run in {folder}: {first_line(error)}.") from None
    if len(raw) > LARGEST_CONTENTS_BYTES:
        raise damaged(folder, CONTENTS, f"it is larger than {LARGEST_CONTENTS_BYTES >> 20} MiB")
    try:
        data = json.loads(raw)
        _digest(data)  # data nested too deep to write again is not one of our runs
    except (ValueError, RecursionError) as error:
        raise damaged(folder, CONTENTS, f"it is not JSON ({first_line(error)})") from None
    if not isinstance(data, dict):
        raise damaged(folder, CONTENTS, "it is not an object")
    return data


def rebuild(folder: str | Path, contents: Contents, model: nn.Module, *, with_saved_weights: bool) -> None:
    """Turn the dense `model` into the pruned one in place, with the saved weights, or with its own under the masks.

    Raises InputError if it does not fit, and ReportError if a file is damaged.
    """
    unlike = lacking(model, contents.structure)
    if not unlike:
        remove_blocks(model, contents.structure.blocks)
        unlike = misfits(model, contents.structure)
    if unlike:
        more = f", and {len(unlike) - 3} more" if len(unlike) > 3 else ""
        raise InputError(
            f"This model does not match the one that was pruned: {'; '.join(unlike[:3])}{more}. Give the dense model "
            "as it was then, built by the same code with the same sizes."
        )
    cut(model, contents.structure)
    if with_saved_weights:
        with _opened(folder, WEIGHTS, contents) as file:
            own = _state(model)
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            if shapes != {name: tuple(tensor.shape) for name, tensor in own.items()}:
                raise damaged(folder, WEIGHTS, "its tensors are not those of contents.json")
            for name, tensor in own.items():
                tensor.data = file.get_tensor(name)
        return
    with _opened(folder, MASKS, contents) as file, torch.no_grad():
        weights = dict(model.named_parameters())
        for name in file.keys():  # noqa: SIM118 - it is no dict
            bits, weight = file.get_tensor(name), weights.get(name)
            if weight is None or bits.dtype != torch.uint8 or bits.shape != (-(-weight.numel() // 8),):
                raise damaged(folder, MASKS, f"{name[:80]} is not the mask of a weight")
            keep = np.unpackbits(bits.numpy(), count=weight.numel()).astype(bool)
            weight.masked_fill_(~torch.from_numpy(keep).reshape(weight.shape), 0)


@contextlib.contextmanager
def _opened(folder: str | Path, name: str, contents: Contents) -> Iterator[Any]:
    """Open a file of tensors after checking its size and its checksum against contents.json."""
    path = Path(folder).expanduser() / name
    try:
        written = contents.files.get(name)
        if written is None:
            raise damaged(folder, CONTENTS, f"it says nothing of {name}")
        require_whole(folder, path, written)
        with safe_open(path, framework="pt") as file:
            yield file
    except FAILURES as error:
        raise damaged(folder, name, f"it cannot be read ({first_line(error)})") from None
