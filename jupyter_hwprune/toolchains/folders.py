"""Temporary folders, each with a lock for as long as its process lives; those that dead processes left are swept.

The lock is the system's, and not the number of a process: another container may share the temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

PREFIX = "hwprune-"
LOCK = ".hwprune.lock"  # in the folder; one without it is not ours, or of a version that made none

_locks: dict[Path, BaseFileLock] = {}
_swept: set[Path] = set()


def make() -> Path:
    """Make a folder and lock it; the first one also sweeps what dead processes left beside it. Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    if folder.parent not in _swept:
        _swept.add(folder.parent)
        sweep(folder.parent)
    lock = _lock(folder / f"{LOCK}.new")
    with contextlib.suppress(OSError):  # a file system without locks: nobody sweeps this folder then
        lock.acquire(blocking=False)
        (folder / f"{LOCK}.new").rename(folder / LOCK)  # held before anybody can find it
        _locks[folder] = lock
    return folder


def remove(folder: Path) -> None:
    """Remove any folder, and give back its lock if it is one of these."""
    lock = _locks.pop(folder, None)
    if lock is not None:
        lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path) -> None:
    """Remove the folders in `root` that this user's dead processes left; one that is locked belongs to a live one."""
    for folder in root.glob(f"{PREFIX}*"):
        if folder not in _locks and _is_ours(folder):
            with contextlib.suppress(OSError), _lock(folder / LOCK).acquire(blocking=False):
                shutil.rmtree(folder, ignore_errors=True)


def _lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    return FileLock(path, thread_local=False)  # a run may end in another thread than it began in


def _is_ours(folder: Path) -> bool:
    """Say whether this is a folder, not a link, that a process of this user has made and locked."""
    try:
        own, lock = folder.lstat(), (folder / LOCK).lstat()
    except OSError:
        return False
    user = getattr(os, "getuid", int)()
    return stat.S_ISDIR(own.st_mode) and stat.S_ISREG(lock.st_mode) and own.st_uid == lock.st_uid == user
