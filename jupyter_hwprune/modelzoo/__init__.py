"""Measure the gain of the zeros in a model that arrives pruned, from SparseZoo or a folder with the same layout.

There is no torch model. The folder's ONNX file is the pruned model, and its dense twin is the same file with the zeros
filled in. Both are measured like any other pair of models.
"""

import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..choose.checks import either
from ..choose.choice import Choice, choose
from ..choose.effort import FULL, Effort
from ..core.door import one_door
from ..core.errors import InputError, ToolchainError, counted
from ..core.pattern import parse_pattern
from ..core.target import REFERENCE
from ..keep.run import Shown
from ..measure.bench import Bench
from ..measure.candidates import Candidate, Findings
from ..mistakes import check_codes, silenced
from ..report import Evidence, Fingerprints, Layer, Report, Totals, Untimed
from ..reporting.compose import compose, request_of
from ..reporting.reasons import explain_written
from ..toolchains import HERE, environments, manifest_of
from ..toolchains.process import Failure, Progress, call, guarded_folder, private_folder
from .counts import counted_there, macs_of, other_counts, quantised
from .reference import expect
from .samples import inputs_for, ports_of, read_samples
from .twin import fix_shapes, load, opset, prints_of, write_twins
from .weights import FEWEST, INTEGERS, WeightOfFile, describe, weights_of

STUB = "zoo:"
NEEDS = "--zoo takes a model folder, a stub that begins with zoo:, or an analysis file (.yaml)"
GET_IT = "Download the model's folder where its server can be reached, and give the folder: --zoo FOLDER"
NO_WEIGHTS = Evidence(
    "unavailable",
    reason="an analysis file has counts and no weights, so there is nothing to compile",
    cure="give the folder of the model itself: --zoo FOLDER",
)


@one_door(ToolchainError)
def zoo(
    source: str | Path,
    *,
    target: str = "cpu",
    toolchain: str | None = None,
    threads: int = 1,
    batch: int | None = None,
    timeout_s: float = 1800,
    ignore: Sequence[str] = (),
    effort: Effort = FULL,
    progress: Progress = lambda _phase, _detail: None,
) -> Shown:
    """Measure the gain of the zeros in a SparseZoo model on a target, kernel by kernel.

    `source` is a folder with SparseZoo's layout, a `zoo:` stub, or the YAML file of an analysis. An analysis has no
    weights, so its report shows counts and "not measured". `batch` sets the batch size if the file leaves it open;
    `effort` limits the rounds and seconds of the measurement; `ignore` are codes of mistakes to leave out.

    Raises InputError if the source cannot be read or its parts do not fit together, ToolchainError if the stub's server
    does not answer or the reference runtime cannot run the model, MismatchError if the toolchain's outputs are wrong.
    """
    silent = check_codes(ignore)
    kind, name = _kind(str(source))
    choice = choose(target, toolchain=toolchain, threads=threads, batch=batch, timeout_s=timeout_s)
    if why := _unfit(choice):
        raise InputError(
            f"{choice.judge.toolchain} {why}, but --zoo gives an ONNX file in its own dtype. Choose a target whose "
            "toolchains take such files, such as x86-cpu or intel-cpu."
        )
    with private_folder() as folder:
        found = _read(kind, str(source), folder, progress, timeout_s)
        if kind == "analysis":
            report = _not_measured(name, found, choice)
        else:
            report = _measured(name, found, choice, folder, progress, effort)
        return Shown(silenced(report, silent))


def _unfit(choice: Choice) -> str | None:
    """Say why the toolchain cannot take a file as it came; None if it can."""
    if choice.judge.dtypes:
        return f"converts models to {either(choice.judge.dtypes)}"
    takes = choice.way and manifest_of(choice.judge.toolchain).takes
    return "takes torch models only" if takes == "program" else None


def _kind(source: str) -> tuple[str, str]:
    """Return the kind of source (stub, folder, analysis) and the name to show; raises InputError for others."""
    if source.startswith(STUB):
        return "stub", source
    path = Path(source).expanduser()
    if path.is_dir():
        if not any(path.iterdir()):
            raise InputError(f"The folder {source} is empty. {NEEDS}.")
        return "folder", path.resolve().name
    if path.is_file() and path.suffix in {".yaml", ".yml"}:
        return "analysis", path.name
    if path.is_file():
        raise InputError(f"{source} is a single file. {NEEDS}; for an ONNX file, give its folder.")
    raise InputError(f"There is nothing at {source}. {NEEDS}.")


def _read(kind: str, source: str, folder: Path, progress: Progress, timeout_s: float) -> dict[str, Any]:
    """Read the source with SparseZoo, in its own environment."""
    request = {
        "action": "zoo",
        "toolchain": str(HERE / "_sparsezoo.py"),
        "kind": kind,
        "source": source if kind == "stub" else str(Path(source).expanduser().resolve()),
        "answer": ["versions", "problem"],
    }
    python = str(environments.interpreter_of("sparsezoo"))
    found = call(request, folder, progress, python=python, threads=1, timeout_s=timeout_s)
    if not isinstance(found, Failure) and found["problem"] is None:
        return found
    problem = found.reason if isinstance(found, Failure) else found["problem"]
    if kind == "stub":
        raise ToolchainError(f"SparseZoo could not get the stub {source}: {problem}. {GET_IT}.")
    what = "analysis file" if kind == "analysis" else "model folder"
    raise InputError(f"{source} cannot be read as SparseZoo's {what}: {problem}. {NEEDS}.")


def _measured(
    name: str, found: dict[str, Any], choice: Choice, folder: Path, progress: Progress, effort: Effort
) -> Report:
    progress("export", "the dense twin")
    proto = load(Path(found["model"]))
    inputs = inputs_for(ports_of(proto.graph), read_samples(found["inputs"]), choice.batch)
    weights = weights_of(proto, fix_shapes(proto, inputs.arrays))
    layers, skipped = describe(weights)
    if not layers:
        raise InputError(
            f"No weight of {found['taken']} in {name} has {FEWEST:.0%} or more zeros (checked: "
            f"{counted(len(skipped), 'layer')}), so there is no pruning to measure. Prune your own model with %hwprune."
        )
    choice = _as_it_came(choice, layers, weights, opset(proto))
    with guarded_folder():
        cases = write_twins(proto, weights, inputs.arrays, folder)
        prints = prints_of(cases)
    remarks = [f"The model is {found['taken']}; the dense one is the same file with its zeros filled in."]
    remarks += [*inputs.remarks, *other_counts(found["analysis"], weights), *_origins(found, weights)]
    if choice.way is None and choice.obstacle is not None:
        findings = Findings(Untimed(choice.obstacle), layers)
    else:
        reference, said = expect(cases, found["outputs"], inputs, choice, progress)
        remarks.append(said)
        bench = Bench(lambda *_: cases["dense"], choice, folder, progress, effort=effort, reference=reference)
        (findings,) = bench.measure([Candidate(cases["pruned"], layers, prints.pruned, channels=False)])
    return _report(
        name,
        choice,
        inputs.batch,
        findings,
        found["versions"],
        totals=_totals(proto, weights),
        skipped=skipped,
        reasons=(*explain_written(choice, findings), *remarks),
        fingerprints=prints,
    )


def _as_it_came(choice: Choice, layers: Sequence[Layer], weights: Sequence[WeightOfFile], version: int) -> Choice:
    """Fill in the model's pattern, sparsity and dtype; add an obstacle if its ONNX version is too new."""
    patterns = {layer.pattern for layer in layers}
    pattern = parse_pattern(patterns.pop() if len(patterns) == 1 else "unstructured")
    names = {layer.name for layer in layers}
    own = [each for each in weights if each.layer in names]
    zeros = sum(each.zeros for each in own)
    sizes: Counter[str] = Counter()
    for each in own:
        sizes[each.dtype] += math.prod(each.shape)
    dtype = sizes.most_common(1)[0][0].removeprefix("u")
    choice = replace(choice, pattern=pattern, sparsity=round(zeros / sizes.total(), 4)).for_model_in(dtype)
    toolchain = choice.judge.toolchain
    takes = manifest_of(toolchain).opset if choice.way else None
    if takes is None or version <= takes:
        return choice
    reason = f"the file uses ONNX operators of version {version}, but {toolchain} takes at most {takes}"
    other = f"--target {choice.target.name}:{REFERENCE.toolchain}"
    cure = f"export the model with opset_version={takes}, or choose {other}"
    return replace(choice, way=None, obstacle=Evidence("unavailable", reason=reason, cure=cure))


def _origins(found: dict[str, Any], weights: Sequence[WeightOfFile]) -> list[str]:
    said = quantised([each.dtype in INTEGERS for each in weights], ": their zeros are their zero points")
    if found["recipes"]:
        recipe = found["recipes"][0]
        line = f"%hwprune --recipe {shlex.quote(recipe)}"
        said.append(f"Its recipe is {recipe}: {line} applies it to your own model.")
    return said


def _totals(proto: Any, weights: Sequence[WeightOfFile]) -> Totals:
    sizes = {each.name: math.prod(each.dims) for each in proto.graph.initializer}
    zeros = {each.initializer: each.zeros for each in weights}  # a weight that two layers share counts once
    total = sum(sizes.values())
    return Totals(total, total - sum(zeros.values()), *macs_of([(each.macs, each.sparsity) for each in weights]))


def _not_measured(name: str, found: dict[str, Any], choice: Choice) -> Report:
    """Show the counts of an analysis, without times."""
    layers, skipped, totals, reasons = counted_there(found["rows"])
    sparsity = round(1 - totals.pruned_weights / totals.weights, 4)
    choice = replace(choice, pattern=parse_pattern("unstructured"), sparsity=sparsity)
    findings, own = Findings(Untimed(NO_WEIGHTS), layers), {"totals": totals, "skipped": skipped, "reasons": reasons}
    prints = Fingerprints("", "")
    return _report(name, choice, choice.batch or 1, findings, found["versions"], **own, fingerprints=prints)


def _report(
    name: str, choice: Choice, batch: int, findings: Findings, versions: dict[str, str], **found: Any
) -> Report:
    request = request_of(choice, name, batch, importance="as it came", allocation="as it came")
    found |= {"layers": findings.layers, "returned": (), "scores": None, "versions": findings.versions | versions}
    return compose(choice, request, findings, **found)
