"""What a toolchain is: a file with these functions. The file's name is the toolchain's name; there is no registry.

A toolchain file is loaded by path in a worker process of its own, which may run another interpreter: it imports the
standard library, the files beside it, and its vendor only, in Python 3.8 syntax, and the vendor inside its functions.

Beside the names of `Toolchain` it may have:

- `OPSET`: the version of ONNX's operators that it wants its models in;
- `TAKES = "program"`: it compiles a torch ExportedProgram in settings["dtype"] with its example inside, not ONNX;
- `rate(models, inputs, settings, say)`: what the pattern buys in each layer of settings["layers"], before the model is
  settled: for each a dict with its `layer` and `rows` (None where unknown), and either `samples` of the cases in
  microseconds with `plans` for compile(), or `picked` where the compiler has chosen a sparse kernel itself, or why it
  is `refused`; `error` is its product's difference to torch's;
- `count(model, inputs, settings, folder)`: one run in NVTX ranges of the layers' names, while Nsight Compute looks on;
- `simulate(model, inputs, settings, folder, sparsity)`: milliseconds of runs of a dense model whose weights have that
  share of zeros imposed, None for as it is; `SIMULATED` says what that leaves out;
- `meter()`: an object whose `read_mj()` is the device's count of millijoules;
- on a Compiled, `facts`: {"way": how it is started, "eager_ms": milliseconds of a run kernel by kernel}.

settings["sparse"] are the layers that hold the pattern and may run sparsely, settings["plans"] what `rate` said.
"""

from __future__ import annotations

from typing import Any, Protocol, TypedDict


class Kernel(TypedDict):
    """One kernel of a profile, with a sample in microseconds for each profiled run.

    It may have `utilization`: the arithmetic of its dense layer by its time, as a share of the core's peak.
    """

    names: list[str]  # the model's nodes it carries out, as the runtime calls them
    op: str  # the ONNX operator at its heart: Conv, Gemm, MatMul, ...
    kernel: str  # what ran, in the vendor's own words
    sparse: bool | None  # whether it skips zeros; None where the vendor does not tell
    us: list[float]


class Compiled(Protocol):
    """A compiled model with its inputs bound, ready to be run and timed."""

    files: dict[str, str]  # what the compiler wrote, by a short name

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
    def kernels(self) -> list[Kernel]:
        """Return what ran, in order of execution; called once, after the last run."""


class Toolchain(Protocol):
    """A module with these names."""

    INSTALL: str
    """The command that makes it importable."""

    def probe(self) -> dict[str, Any]:
        """Return {"versions": {distribution: version}, "devices": {name: label}}; ImportError where it is missing.

        Optional are `capabilities` {device: CUDA compute capability}, `absent` {device: why it is not there} and
        `remarks`, a list of {"about", "said", "cure"}.
        """

    def compile(self, model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Compiled:
        """Compile the ONNX file `model` for settings["device"] and settings["threads"]; files go to `folder`."""

    def profile(self, model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Profiled:
        """Do the same with the vendor's profiler on."""
