"""The report itself: what was asked for, what was found, and how both are written and read as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from ..core.door import one_door
from ..core.errors import ReportError, first_line
from . import codec, words
from .blockwise import Blockwise
from .corners import Corner, Corners
from .hotspots import Hotspots
from .layers import Layer, Memory, OtherKernels, Returned, Sensitivity, Skipped, Totals
from .measurement import Baseline, Comparison, Energy, Evidence, Measurement, Timed, Verdict, best_baseline, deciding
from .metrics import metrics
from .mistake import Arrived, Mistake
from .next_step import NextStep
from .older import OLDER_VERSION, converted
from .recovery import Recovered
from .runtimes import Runtimes
from .search import Search
from .step import TrainedStep
from .trial import Tried

SCHEMA_VERSION = 5
CLIFF = 0.1  # of the dense score's size
MIME_TYPE = "application/vnd.hwprune.report+json"


@dataclass(frozen=True)
class Footprint:
    """The sizes of the compiled models' files, in bytes, and what they take of the chip's memory by the compiler."""

    OMITS_DEFAULTS: ClassVar[bool] = True

    dense_bytes: int
    pruned_bytes: int
    dense: Memory | None = None
    pruned: Memory | None = None


@dataclass(frozen=True)
class PeakMemory:
    """The measured peak memory of a process that runs each model's file by the exported script, above its libraries.

    The numbers come from the system's own counter of the process.
    """

    dense_bytes: int
    pruned_bytes: int


@dataclass(frozen=True)
class OutputCheck:
    """The largest difference from the reference's outputs, relative to their largest magnitude."""

    dense_error: float
    pruned_error: float
    tolerance: float
    reference: str = "torch"


@dataclass(frozen=True)
class Scores:
    """The user's score of the dense and of the pruned model, higher is better."""

    expression: str
    dense: float
    pruned: float

    def is_cliff(self, after: float) -> bool:
        """Say whether a score is lower than the dense model's by more than a tenth of that one's size."""
        return self.dense - after > CLIFF * abs(self.dense) > 0


@dataclass(frozen=True)
class Recipe:
    """The SparseML recipe that pruned the model: the name used for it, and its text."""

    name: str
    text: str


@dataclass(frozen=True)
class Request:
    """The user's request, with every default filled in; `calib` is None if the example was used for calibration.

    `on_host` is True if the device is the CPU of the compiling machine, so that `threads` applies; `dtype` is the data
    type of both models, which --dtype chooses where the toolchain `takes_dtype`. The model was pruned in `steps`, each
    followed by the fine-tune step if it was `trained`, by `recover` steps of training without labels if that is given.
    `ignore` are the codes of mistakes to leave out. `config` are the parts of the chip's configuration.
    """

    model: str
    target: str
    toolchain: str
    device: str
    dtype: str
    pattern: str
    sparsity: float
    importance: str
    allocation: str
    threads: int
    batch: int
    on_host: bool = True
    takes_dtype: bool = False
    keep_all: bool = False
    keep_statistics: bool = False
    dense: tuple[str, ...] = ()
    permute: bool = False
    config: tuple[str, ...] = ()
    input: str | None = None
    calib: str | None = None
    recipe: Recipe | None = None
    schedule: str = "one-shot"
    steps: int = 1
    trained: bool = False
    recover: int | None = None
    solver: str = "full"
    tune_blocks: int | None = None
    tune_kernels: float | None = None
    rpc: str | None = None
    rpc_key: str | None = None
    int8_error: float | None = None
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fingerprints:
    """Hashes of the dense and the pruned weights, to match reports of the same pruning from two machines."""

    dense: str
    pruned: str


@dataclass(frozen=True)
class Machine:
    cpu: str
    architecture: str
    cores: int
    system: str
    load_1min: float | None


@dataclass(frozen=True)
class Report:
    created: str
    request: Request
    chip: str
    typical_speedup: str | None
    totals: Totals
    layers: tuple[Layer, ...]
    skipped: tuple[Skipped, ...]
    returned: tuple[Returned, ...]
    other_kernels: OtherKernels | None
    measurement: Measurement
    energy: Energy | None
    counters: Evidence | None  # the source of the layers' hardware counters
    check: OutputCheck | None
    scores: Scores | None
    reasons: tuple[str, ...]
    machine: Machine | None
    versions: dict[str, str]
    fingerprints: Fingerprints
    baselines: tuple[Baseline, ...] = ()
    sensitivity: Sensitivity | None = None
    footprint: Footprint | None = None
    peak_memory: PeakMemory | None = None
    blockwise: Blockwise | None = None
    corners: Corners | None = None
    runtimes: Runtimes | None = None
    hotspots: Hotspots | None = None
    search: Search | None = None
    recovered: Recovered | None = None
    trained: tuple[TrainedStep, ...] = ()  # the steps of the training, each with the score after it
    tried: Tried | None = None
    identities: tuple[str, ...] = ()  # of the device that was measured, the most specific first
    arrived: Arrived | None = None
    mistakes: tuple[Mistake, ...] = ()
    next_steps: tuple[NextStep, ...] = ()
    omitted: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def timed(self) -> Timed | None:
        return self.measurement if isinstance(self.measurement, Timed) else None

    @property
    def verdict(self) -> Verdict:
        return self.deciding.verdict

    @property
    def deciding(self) -> Comparison:
        """The comparison behind the verdict: with int8, of the fastest model with the dense one in float.

        With several runtimes, it is that of the fastest pruned with the fastest dense model.
        """
        if self.runtimes is not None:
            return self.runtimes.speed
        fastest = self.fastest
        return deciding(self.measurement, self.baselines) if fastest is None else fastest.speed

    @property
    def fastest(self) -> Corner | None:
        return None if self.corners is None else self.corners.fastest

    @property
    def rival(self) -> Baseline | None:
        return best_baseline(self.baselines)

    @one_door(ReportError)
    def metrics(self) -> dict[str, float]:
        """Return the report's numbers under stable names, for MLflow, Weights & Biases and the like.

        What was not measured is left out. Times are milliseconds a batch, energies millijoules a batch.
        """
        return metrics(self)

    @one_door(ReportError)
    def to_json(self) -> str:
        """Return the report as JSON, with its words for viewers; `from_json` ignores the words."""
        data = to_data(self) | {"words": codec.unstructure(words.words_of(self))}
        return json.dumps(data, allow_nan=False, separators=(",", ":"))

    @one_door(ReportError)
    def save(self, path: str | Path) -> None:
        """Write the report as JSON; raises ReportError if the file cannot be written."""
        try:
            Path(path).write_text(self.to_json(), encoding="utf-8")
        except OSError as error:
            raise ReportError(f"The report cannot be written to {path}: {first_line(error)}.") from error

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return what a notebook shows where a report is the last expression of a cell."""
        # what draws a report comes after it in the order of imports, and is loaded where one is shown
        bundle: dict[str, Any] = import_module("..render", __package__).mimebundle(self)
        return bundle

    @classmethod
    @one_door(ReportError)
    def load(cls, path: str | Path) -> Report:
        """Read a file that `save` wrote; raises ReportError if it is missing, damaged, or of another version."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ReportError(f"There is no report to read in {path}: {first_line(error)}.") from error
        return cls.from_json(text)

    @classmethod
    @one_door(ReportError)
    def from_json(cls, text: str) -> Report:
        """Read text that `to_json` wrote; raises ReportError if it is damaged or of another schema version."""
        try:
            data = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ReportError(f"This is not a report: it is not JSON ({first_line(error)}).") from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version == OLDER_VERSION:
            data = converted(data) | {"schema_version": SCHEMA_VERSION}
        elif version != SCHEMA_VERSION:
            raise ReportError(
                f"This report has schema version {str(version)[:20]}; this package reads versions "
                f"{OLDER_VERSION} and {SCHEMA_VERSION}. "
                "Install the jupyter-hwprune that wrote it, or make the report again."
            )
        data.pop("words", None)
        report: Report = codec.structure(data, cls)
        return report


def to_data(report: Report) -> dict[str, Any]:
    """Return the report as plain dicts, lists, strings and numbers."""
    return codec.unstructure(report)
