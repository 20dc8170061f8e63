"""What a toolchain is: a file with these functions. The file's name is the toolchain's name; there is no registry.

A toolchain file is loaded by path in a worker process of its own, which may run another interpreter: it imports the
standard library and its vendor only, in Python 3.8 syntax, and the vendor inside its functions.
"""

from __future__ import annotations

from typing import Any, Protocol, TypedDict


class Kernel(TypedDict):
    """One kernel of a profile, with a sample in microseconds for each profiled run."""

    names: list[str]  # the model's nodes it carries out, as the runtime calls them
    op: str  # the ONNX operator at its heart: Conv, Gemm, MatMul, ...
    kernel: str  # what ran, in the vendor's own words
    sparse: bool  # whether it skips zeros
    us: list[float]


class Compiled(Protocol):
    """A compiled model with its inputs bound, ready to be run and timed."""

    files: dict[str, str]  # what the compiler wrote, by a short name

    def run(self) -> None: ...
    def outputs(self) -> list[Any]:
        """Run once and return the outputs as numpy arrays."""


class Profiled(Protocol):
    """A model compiled with its vendor's profiler switched on."""

    def run(self) -> None: ...
    def kernels(self) -> list[Kernel]:
        """Return what ran, in order of execution; called once, after the last run."""


class Toolchain(Protocol):
    """A module with these names."""

    INSTALL: str
    """The command that makes it importable."""

    def probe(self) -> dict[str, Any]:
        """Return {"versions": {distribution: version}, "devices": {name: label}}; ImportError where it is missing."""

    def compile(self, model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Compiled:
        """Compile the ONNX file `model` for settings["device"] and settings["threads"]; files go to `folder`."""

    def profile(self, model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Profiled:
        """Do the same with the vendor's profiler on."""
