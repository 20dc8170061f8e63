"""Measure what pruning gains with the target's own toolchain: write the models and send them to a bench."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import nn

from ..choose.choice import Choice
from ..choose.effort import FULL, Effort
from ..core.example import Example
from ..core.pattern import Channel, Depth
from ..export import write_case
from ..export.cases import Case
from ..pruning import fingerprint
from ..report import Untimed
from ..toolchains.process import Failure, Progress, guarded_folder
from .bench import Bench
from .candidates import Candidate, Findings
from .job import HERE, CaseOfJob, measuring_job, tolerance_of
from .quantising import Quantiser, calibration_of
from .rating import Settled, served


def bench_for(
    dense: nn.Module,
    example: Example,
    choice: Choice,
    folder: Path,
    progress: Progress,
    effort: Effort = FULL,
    calibration: Sequence[Example] = (),
    outputs: Sequence[str] = (),
) -> Bench:
    """Return a bench that writes, compiles and times the dense model once for all candidates of a call.

    If the choice or its toolchain quantises, `calibration` are the inputs to do so with. `outputs` are the names
    of the model's outputs.
    """

    def write_dense(own: Choice, name: str) -> Case:
        named = outputs if own.judge == choice.judge else ()  # for others the file has to suit them all
        return write_case(dense, example, own, folder, name, progress, outputs=named)

    quantiser, compiles_with = None, None
    if choice.quantise is not None:
        quantiser = Quantiser(choice, folder, HERE, progress, calibration_of(calibration, example))
    elif choice.quantises:
        compiles_with = calibration_of(calibration, example)
    return Bench(
        write_dense,
        choice,
        folder,
        progress,
        effort=effort,
        quantiser=quantiser,
        outputs=tuple(outputs),
        calibration=compiles_with,
    )


def measure(bench: Bench, dense: nn.Module, settled: Settled, example: Example) -> Findings:
    """Return the judge's findings for one pruned model, or why there are none.

    Raises ExportError if torch cannot export it, MismatchError if the compiled model computes wrong outputs.
    """
    if settled.choice.way is None and settled.choice.obstacle is not None:
        return Findings(Untimed(settled.choice.obstacle), settled.pruned.layers)
    return bench.measure([candidate(bench, dense, settled, example)])[0]


def candidate(bench: Bench, dense: nn.Module, settled: Settled, example: Example, name: str = "pruned") -> Candidate:
    """Write a pruned model for the bench's judge, under a file name that is unique on the bench.

    Raises ExportError if torch cannot export it.
    """
    choice, pruned = bench.choice, settled.pruned
    sparse = served(pruned.layers, choice)
    report = fingerprint(pruned.model)

    def write(own: Choice, named: str) -> Case:
        progress, outputs = bench.progress, bench.outputs
        return write_case(pruned.model, example, own, bench.folder, named, progress, outputs=outputs, report=report)

    case = settled.written or write(choice, name)
    models = {"dense": (bench.dense, dense), "pruned": (case, pruned.model)}
    return Candidate(
        case,
        pruned.layers,
        report,
        isinstance(choice.pattern, (Channel, Depth)),
        layers_run=settled.rated or sparse,
        sparse=sparse,
        renamed=pruned.renamed,
        plans=settled.plans,
        graphs=settled.graphs,
        first_wrong=partial(_first_wrong, bench, models, example, settled),
        write=lambda own: write(own, f"{name}{own.suffix}"),
    )


def _first_wrong(
    bench: Bench, models: Mapping[str, tuple[Case, nn.Module]], example: Example, settled: Settled, name: str
) -> str:
    """Name the first layer, in the order of execution, whose output differs from torch's."""
    choice, tolerance = bench.choice, tolerance_of(bench.choice)
    case, model = models[name]
    bench.progress("check", "finding the wrong layer")
    with guarded_folder():
        traced = case.with_layer_outputs(model, example)
    if traced is None or choice.way != "run":
        if settled.checked:
            return "although the layers' products alone are right: the dtype may be too narrow for this model"
        return "and it is not known which layer is wrong first"
    own, names = traced
    job = measuring_job(choice, bench.folder, [CaseOfJob("layers", own)])
    result = bench.place.run(job, bench.progress)
    errors = [] if isinstance(result, Failure) else result["errors"]["layers"]
    if len(errors) != len(names):
        return "and the first wrong layer could not be found"
    for layer, error in zip(names, errors, strict=True):
        if error > tolerance:
            return f"first in layer {layer}"
    return "although each layer alone is right: the error comes from fusing layers"
