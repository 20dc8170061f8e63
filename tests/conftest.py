from __future__ import annotations

import functools
import hashlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

from jupyter_hwprune import setup
from jupyter_hwprune.choose.effort import FULL
from jupyter_hwprune.measure.bench import Bench
from jupyter_hwprune.measure.writing import bench_for
from jupyter_hwprune.toolchains.environments import FOLDER_VARIABLE, interpreter_of
from tests import networks

pytest.register_assert_rewrite("tests.contracts")

BUILD = Path(__file__).parents[1] / "build"
ENVIRONMENTS = BUILD / "environments"  # where `make test` sets them up

# a shell that starts the tests in its background has them ignore interrupts, and so all that they start
signal.signal(signal.SIGINT, signal.default_int_handler)


# how long an example takes is the machine's affair
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# what a developer has set up is none of the tests' business: a test that needs an environment asks for it
os.environ[FOLDER_VARIABLE] = str(BUILD / "no-environments")


BRIEF = replace(FULL, measure_s=0.5, profile_s=0.5, peak_memory=False)


@pytest.fixture(scope="session", autouse=True)
def _brief_unless_asked() -> Iterator[None]:
    """Measure for half a second where a call names no effort: what tests hold is no matter of an interval's width.

    There are as many processes and least rounds as in a user's call, and all phases but that of the peak memory, which
    tests of it ask for. Kernels of their own measure as users do.
    """

    def brief(*args: Any) -> Bench:
        own: list[Any] = [BRIEF if each is FULL else each for each in args]
        return bench_for(*own)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jupyter_hwprune.flow.bench_for", brief)
        yield


IN_ENVIRONMENTS = {
    "deepsparse_environment",
    "sparseml_environment",
    "sparsezoo_environment",
    "environment_of_the_class",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what works in a heavy environment: `make test` takes one smoke test of each, `make test-all` every one."""
    for item in items:
        heavy = not IN_ENVIRONMENTS.isdisjoint(getattr(item, "fixturenames", ()))
        if heavy and item.get_closest_marker("smoke") is None:
            item.add_marker("heavy")


@pytest.fixture
def deepsparse_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_environment("deepsparse", monkeypatch)


@pytest.fixture(scope="class")
def environment_of_the_class(request: pytest.FixtureRequest) -> Iterator[None]:
    """Show the environment of the toolchain that the class names to its tests."""
    with pytest.MonkeyPatch.context() as patch:
        use_environment(request.cls.name, patch)
        yield


@pytest.fixture
def sparseml_environment(monkeypatch: pytest.MonkeyPatch) -> Path:
    use_environment("sparseml", monkeypatch)
    return interpreter_of("sparseml")


@pytest.fixture
def sparsezoo_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_environment("sparsezoo", monkeypatch)


def use_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an environment by the project's own command, unless it is there, and show it to the test."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(ENVIRONMENTS))
    make_once(name)


@functools.cache
def make_once(name: str) -> None:
    setup(name, accept_licence=True)  # for tests, which the licences allow


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
