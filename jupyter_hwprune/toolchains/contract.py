"""The functions that a toolchain file has to define. The file's name is the toolchain's name; there is no registry.

The file is loaded by path in a worker process of its own, which may run another interpreter. So it uses Python 3.8
syntax, and imports only the standard library, the files beside it and its vendor, the last inside its functions.
Its literal MANIFEST says what it can do (see manifest.py) and so which of the optional functions below it defines:

    MANIFEST = {"install": "pip install my-compiler"}

`compile` returns an artefact, on any machine where the toolchain can compile; `load` makes it runnable, on a machine
with the device. A toolchain that only estimates or only compiles has no `load` and no `profile`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypedDict


class Settings(TypedDict):
    """How to compile and run a model; a toolchain reads the settings that concern it.

    `layers` are all layers that may run sparsely, `sparse` those that do so in this case, `plans` what `rate` returned
    for each. If `graphs` is False, every case is started kernel by kernel, since one of them cannot start otherwise.
    `batch` is what to compile a model for whose batch is open, None for any.
    """

    device: str
    threads: int
    dtype: str
    layers: list[str]
    sparse: list[str]
    plans: dict[str, Any]
    graphs: bool
    batch: int | None
    keep_files: bool  # write the files that a user may want to keep
    cache: str  # a file to keep results in between runs
    config: list[str]  # one value of each of the judge's `configs` in the target's row
    tune_s: float  # seconds that `tune` has to schedule the kernels of all models, 0 to compile them untuned
    rpc: str  # HOST:PORT of a board's server, or of a tracker of boards; "" to run on this machine
    rpc_key: str  # the board that the tracker is asked for, "" where `rpc` is its own server
    calibration: str  # a file with the inputs to quantise with, if the manifest says `calibrates`; else ""
    int8_error: (
        float | None
    )  # how far int8 may move the outputs, if the manifest says `limits_error`; None for no limit


class Device(TypedDict):
    """A device that was found. "cpu" is the host's; target rows name the other kinds, and all identities."""

    kind: str
    identities: list[str]  # the most specific first
    label: str  # its common name, for people


class KernelOfLayer(TypedDict):
    """One kernel of a profile, with one sample in microseconds for each profiled run, None if the vendor tells no time.

    Optional are `utilization`: the dense layer's operations per second, as a share of the core's peak; `int8`: whether
    it multiplies 8-bit integers; and `ran_on`: the processor that ran it, where that is not the device asked for.
    """

    names: list[str]  # the nodes of the model that it computes, by the runtime's names
    op: str  # its main ONNX operator: Conv, Gemm, MatMul, ...
    kernel: str  # the kernel that ran, by the vendor's name
    sparse: bool | None  # whether it skips zeros; None if the vendor does not say
    us: list[float] | None


class Memory(TypedDict, total=False):
    """What a model or layer takes of the chip's memory, in bytes; what the compiler does not say is missing."""

    weight_bytes: int  # its constants as the compiler packs them, in flash or DRAM
    sram_bytes: int  # the most memory on the chip that it holds at a time
    traffic_bytes: int  # moved from and to flash or DRAM in one run


class CostOfLayer(TypedDict):
    """One layer's part of an estimate, in the estimate's unit; `names` and `op` as in KernelOfLayer.

    Optional are `memory`, a Memory, and `ran_on`: the processor that runs it, where that is not the device asked for.
    Optional are `kernel`, `sparse` and `utilization`, as there: what the compiler made of the layer, and why.
    """

    names: list[str]
    op: str
    cost: float


class Estimate(TypedDict):
    """The cost of one run by the compiler's own cost model.

    Optional are `clock_mhz`: the clock that the compiler's cycles are counted at; and `utilization`: the
    multiplications that the compiled model makes, as a share of those that the device could make in that time.
    """

    unit: str  # "cycles" or "ms"
    total: float
    layers: list[CostOfLayer]


class Artefact(Protocol):
    """A compiled model. If the toolchain estimates, it also has an attribute `estimate`, None where that failed.

    Optional are `size_bytes`: what it takes on the device, where that is not the size of its files; `memory`, a Memory;
    `remarks`, a list of sentences for the report, to which `load` and `interpret` may add; and `uncompiled`, {"reason",
    "cure"} where its files are only what the chip's own compiler takes, for want of that compiler.
    """

    files: dict[str, str]  # paths of what the compiler wrote, by a short name; a missing or empty file is an error


class Running(Protocol):
    """An artefact loaded on its device with its inputs bound, ready to run and be timed.

    Optional are `facts`: {"way": how it is started, "eager_ms": milliseconds of a run kernel by kernel}; and
    `seconds(count)`: the seconds of so many runs by the clock of the board that makes them, without the way there.
    """

    def run(self) -> Any:
        """Start one run; it may return before the device has finished."""

    def finish(self) -> None:
        """Wait until all started runs have finished."""

    def outputs(self) -> list[Any]:
        """Run once and return the outputs as numpy arrays."""


class Profiled(Protocol):
    """A model compiled with the vendor's profiler on.

    Optional is `cold_runs`: how many first runs to leave out of the samples, 1 by default.
    """

    def run(self) -> Any: ...
    def kernels(self) -> list[KernelOfLayer]:
        """Return the kernels in order of execution; called once, after the last run."""


class Toolchain(Protocol):
    """A module with these names: the least that a toolchain needs."""

    MANIFEST: dict[str, Any]

    def probe(self) -> dict[str, Any]:
        """Return {"versions": {distribution: version}, "devices": {name: Device}}; raise ImportError if not installed.

        The toolchain's own version stands under the toolchain's name.

        Optional are `absent`, {device: why it was not found}, and `remarks`, a list of {"about", "said", "cure"}. Where
        any device is absent, the toolchain compiles for no others than these and those that are here.
        """

    def compile(self, model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> Artefact:
        """Compile the file `model` for settings["device"], and write any files to `folder`."""


class Runs(Toolchain, Protocol):
    def load(self, artefact: Any, inputs: dict[str, Any], settings: Settings) -> Running:
        """Load an artefact, which `compile` returned in this process, on its device."""

    def profile(self, model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> Profiled:
        """Compile the file `model` again, with the vendor's profiler on."""


class Checks(Protocol):
    def interpret(self, artefact: Any, inputs: dict[str, Any], settings: Settings) -> list[Any]:
        """Return the artefact's outputs, computed without its device, to be checked and never timed."""


class Reaches(Protocol):
    def board(self, settings: Settings) -> dict[str, Any]:
        """Connect to the board at settings["rpc"], and return it as a Device of the kind "board"."""


class Tunes(Protocol):
    def tune(self, models: list[str], settings: Settings, folder: str, say: Callable[[str, str], None]) -> None:
        """Search for the kernels' schedules for settings["tune_s"], and keep them in settings["cache"] for `compile`.

        `models` are all files that are compared with each other, so that none is tuned better than another.
        """


class Rates(Protocol):
    def rate(
        self, models: dict[str, str], inputs: dict[str, Any], settings: Settings, say: Callable[[str, str], None]
    ) -> list[dict[str, Any]]:
        """Time each layer of settings["layers"] alone, dense against sparse, to decide which layers stay pruned.

        Returns for each a dict with its `layer` and `rows` (None if unknown), and one of: `samples` of dense, control
        and pruned in microseconds, with `plans` for compile(); `picked`, if the compiler itself has chosen a sparse
        kernel; or `refused`, the reason why no sparse kernel takes it. `error` is its output's difference to torch's.
        """


class Counts(Protocol):
    def count(
        self, model: str, inputs: dict[str, Any], settings: Settings, folder: str, command: list[str]
    ) -> dict[str, Any]:
        """Return {"device": what counted, "layers": {layer: [sparse, dense]}}, or {"reason", "cure"} on failure.

        `command` starts a process that calls `counted`, for profilers that have to start the program themselves.
        """

    def counted(self, model: str, inputs: dict[str, Any], settings: Settings) -> None:
        """Run once under the profiler, each layer in a range with its name."""


class Simulates(Protocol):
    def simulate(
        self, model: str, inputs: dict[str, Any], settings: Settings, folder: str, sparsity: float | None
    ) -> list[float]:
        """Return times in milliseconds of a dense model with this share of zeros imposed; None imposes none."""


class LeftInFloat(TypedDict):
    """Nodes of a model, by the runtime's names, whose weights are not quantised, with their ONNX operator."""

    names: list[str]
    op: str
    reason: str


class Quantised(TypedDict):
    """An int8 model: the file that `compile` takes, all its files by a short name, and how it was made, for people."""

    file: str
    files: dict[str, str]
    quantiser: str  # the library, its version, and its settings
    left_in_float: list[LeftInFloat]


class Quantises(Protocol):
    def quantise(self, model: str, calibration: list[dict[str, Any]], settings: Settings, folder: str) -> Quantised:
        """Quantise the file `model` by a library, with weights symmetric about zero, so that zeros stay zeros.

        `calibration` are inputs to record the range of each activation with, by the model's own names and shapes.
        """


class Meters(Protocol):
    def meter(self) -> Any:
        """Return an object whose `read_mj()` reads the device's energy counter in millijoules."""
