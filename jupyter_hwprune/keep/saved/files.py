"""The files of a saved run: each with its size and checksum, the compiled ones in a folder of their own."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import ReportError, first_line

CONTENTS, WEIGHTS, MASKS = "contents.json", "weights.safetensors", "masks.safetensors"
FILES = "files"  # the folder of what was compiled


@dataclass(frozen=True)
class File:
    bytes: int
    sha256: str


def copy_artifacts(artifacts: Mapping[str, Path], folder: Path) -> None:
    """Copy the compiled files, each with the file of its weights if those are apart."""
    for path in artifacts.values():
        for each in (path, path.with_name(f"{path.name}.data")):
            if each.exists():
                folder.mkdir(exist_ok=True)
                shutil.copyfile(each, folder / each.name)


def artifacts_in(folder: str | Path, files: Mapping[str, File], artifacts: Mapping[str, str]) -> dict[str, Path]:
    """Return the compiled files of a saved run; raises ReportError if one is damaged."""
    root = Path(folder).expanduser().absolute()
    for name, written in files.items():
        path = root / name
        if name not in {WEIGHTS, MASKS}:
            if path.parent != root / FILES:
                raise damaged(folder, CONTENTS, f"{name[:80]} is not a file of a saved run")
            require_whole(folder, path, written)
    if lacking := [name for name in artifacts.values() if f"{FILES}/{name}" not in files]:
        raise damaged(folder, CONTENTS, f"it says nothing of {lacking[0][:80]}")
    return {kind: root / FILES / name for kind, name in artifacts.items()}


def require_whole(folder: str | Path, path: Path, written: File) -> None:
    """Raise ReportError unless a file is there as it was written."""
    try:
        size = path.stat().st_size
        if size != written.bytes:
            raise damaged(folder, path.name, f"{size} bytes are there and {written.bytes} were written")
        if sha256(path) != written.sha256:
            raise damaged(folder, path.name, "its content is not what its checksum says")
    except OSError as error:
        raise damaged(folder, path.name, f"it cannot be read ({first_line(error)})") from None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged(folder: str | Path, name: str, why: str) -> ReportError:
    return ReportError(f"The saved run in {folder} is damaged: in {name}, {why}. Copy it again, or save the run again.")
