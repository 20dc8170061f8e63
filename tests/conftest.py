from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from jupyter_hwprune.proof import TIMING
from jupyter_hwprune.toolchains import environments
from tests import networks

# no energy is metered in the tests but of a stand-in, whose counter moves at once
TIMING.update(energy_s=0.02, idle_settle_s=0.0)
# a shell that starts the tests in its background has them ignore interrupts, and so all that they start
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def cnn() -> nn.Module:
    return networks.cnn()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real IPython, one for each test, with the extension loaded."""
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # IPython warns where that is another than the one it runs in
    InteractiveShell.clear_instance()
    ip = InteractiveShell.instance()
    ip.run_line_magic("load_ext", "jupyter_hwprune")
    yield ip
    ip.reset()
    InteractiveShell.clear_instance()


@pytest.fixture
def sparseml_environment(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The interpreter of an environment with SparseML."""
    python = os.environ.get("HWPRUNE_TEST_SPARSEML")
    if python is None:
        pytest.skip("no environment with SparseML")
    monkeypatch.setattr(environments, "interpreter_of", lambda _: Path(python))
    return Path(python)


def fingerprint(model: nn.Module) -> str:
    """All that must not change in a user's model: every bit, every flag."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for name, parameter in model.named_parameters():
        digest.update(f"{name}{parameter.requires_grad}{parameter.grad is None}".encode())
    for name, module in model.named_modules():
        digest.update(f"{name}{module.training}{len(module._forward_hooks)}".encode())
    return digest.hexdigest()
