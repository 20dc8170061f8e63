"""ALPS (Meng et al. 2024, arXiv:2406.07831) from a checkout of github.com/mazumder-lab/ALPS, run on a CPU.

Its file names a GPU as text: each 'cuda:0' in it is read as 'cpu', and its wait for the GPU is left out. Nothing else
of it is changed, its defaults neither.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

from jupyter_hwprune.core.pattern import NM, Unstructured


def read(checkout: Path) -> Any:
    """Return its class, which takes a layer and two counts that only its own reports use."""
    path = checkout / "alps.py"
    module = ModuleType("alps")
    exec(compile(path.read_text().replace("cuda:0", "cpu"), str(path), "exec"), module.__dict__)  # noqa: S102 - a peer that the caller names
    return module.ALPS_prune


def prune(job: Any, pattern: NM | Unstructured, sparsity: float) -> None:
    """Prune the job's layer in place, from the inputs it has seen. It counts the weights of a group that are kept."""
    groups = {"nm_n": pattern.n, "nm_m": pattern.m} if isinstance(pattern, NM) else {}
    with patch.object(torch.cuda, "synchronize", lambda *_: None):
        job.ALPS_admm(sparsity, **groups)
