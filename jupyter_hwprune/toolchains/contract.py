"""What a toolchain is: a file with these functions. The file's name is the toolchain's name; there is no registry.

A toolchain file is loaded by path in a worker process of its own, which may run another interpreter: it imports the
standard library, the files beside it, and its vendor only, in Python 3.8 syntax, and the vendor inside its functions.
Its literal MANIFEST says what it can do (manifest.py), and each optional function below is there where that says so:

    MANIFEST = {"install": "pip install my-compiler"}

`compile` gives an artefact, on any machine that the toolchain can compile on; `load` makes it runnable, on a machine
that has the device. One that only estimates or only compiles has no `load` and no `profile`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypedDict


class Settings(TypedDict):
    """How a model is to be compiled and run; the toolchain takes what concerns it.

    `layers` are all that may run sparsely, `sparse` those of this case that hold the pattern and may, `plans` is what
    `rate` said of each. Without `graphs` all cases are started kernel by kernel, since one of them has to be.
    """

    device: str
    threads: int
    dtype: str | None
    layers: list[str]
    sparse: list[str]
    plans: dict[str, Any]
    graphs: bool
    keep_files: bool  # write what a user may want to keep
    cache: str  # a file for what is worth remembering between runs


class Device(TypedDict):
    """A device that was found: "cpu" is the host's own; other kinds and all identities are those of target rows."""

    kind: str
    identities: list[str]  # the most specific first
    label: str  # as people call it


class KernelOfLayer(TypedDict):
    """One kernel of a profile, with a sample in microseconds for each profiled run.

    It may have `utilization`: the arithmetic of its dense layer by its time, as a share of the core's peak.
    """

    names: list[str]  # the model's nodes it carries out, as the runtime calls them
    op: str  # the ONNX operator at its heart: Conv, Gemm, MatMul, ...
    kernel: str  # what ran, in the vendor's own words
    sparse: bool | None  # whether it skips zeros; None where the vendor does not tell
    us: list[float]


class CostOfLayer(TypedDict):
    """A part of an estimate, in its unit; `names` and `op` as in KernelOfLayer."""

    names: list[str]
    op: str
    cost: float


class Estimate(TypedDict):
    """What the compiler's own cost model says of one run."""

    unit: str  # "cycles" or "ms"
    total: float
    layers: list[CostOfLayer]


class Artefact(Protocol):
    """A compiled model. One with an `estimate` has that attribute too."""

    files: dict[str, str]  # what the compiler wrote, by a short name; a file that is not there or empty is an error


class Running(Protocol):
    """An artefact on its device with its inputs bound, ready to be run and timed.

    It may have `facts`: {"way": how it is started, "eager_ms": milliseconds of a run kernel by kernel}.
    """

    def run(self) -> Any:
        """Start one run; a device of its own may go on after this returns."""

    def finish(self) -> None:
        """Wait until all that was started has ended."""

    def outputs(self) -> list[Any]:
        """Run once and return the outputs as numpy arrays."""


class Profiled(Protocol):
    """A model compiled with its vendor's profiler switched on.

    It may have `cold_runs`, how many first runs of it are left out, where that is not one.
    """

    def run(self) -> Any: ...
    def kernels(self) -> list[KernelOfLayer]:
        """Return what ran, in order of execution; called once, after the last run."""


class Toolchain(Protocol):
    """A module with these names: all that is needed of one that compiles."""

    MANIFEST: dict[str, Any]

    def probe(self) -> dict[str, Any]:
        """Return {"versions": {distribution: version}, "devices": {name: Device}}; ImportError where it is missing.

        Optional are `absent` {device: why it is not there} and `remarks`, a list of {"about", "said", "cure"}.
        """

    def compile(self, model: str, inputs: dict[str, Any], settings: Any, folder: str) -> Artefact:
        """Compile the file `model` for settings["device"]; what it writes goes to `folder`."""


class Runs(Toolchain, Protocol):
    def load(self, artefact: Any, inputs: dict[str, Any], settings: Any) -> Running:
        """Bring an artefact that `compile` gave in this process to its device."""

    def profile(self, model: str, inputs: dict[str, Any], settings: Any, folder: str) -> Profiled:
        """Compile again, with the vendor's profiler on."""


class Checks(Protocol):
    def interpret(self, artefact: Any, inputs: dict[str, Any], settings: Any) -> list[Any]:
        """Return what the artefact computes, without its device: never timed, only checked."""


class Rates(Protocol):
    def rate(
        self, models: dict[str, str], inputs: dict[str, Any], settings: Any, say: Callable[[str, str], None]
    ) -> list[dict[str, Any]]:
        """Say what the pattern buys in each layer of settings["layers"], before the model is settled.

        For each a dict with its `layer` and `rows` (None where unknown), and either `samples` of dense, control and
        pruned in microseconds with `plans` for compile(), or `picked` where the compiler has chosen a sparse kernel
        itself, or why it is `refused`; `error` is its product's difference to torch's.
        """


class Counts(Protocol):
    def count(
        self, model: str, inputs: dict[str, Any], settings: Any, folder: str, command: list[str]
    ) -> dict[str, Any]:
        """Return {"device": what counted, "layers": {layer: [sparse, dense]}}, or {"reason", "cure"} where it cannot.

        `command` starts a process that calls `counted`: what a profiler that starts its program itself is given.
        """

    def counted(self, model: str, inputs: dict[str, Any], settings: Any) -> None:
        """Run once, each layer in a range of its name, for a profiler that looks on."""


class Simulates(Protocol):
    def simulate(
        self, model: str, inputs: dict[str, Any], settings: Any, folder: str, sparsity: float | None
    ) -> list[float]:
        """Return milliseconds of runs of a dense model with that share of zeros imposed, None for as it is."""


class Meters(Protocol):
    def meter(self) -> Any:
        """Return an object whose `read_mj()` is the device's count of millijoules."""
