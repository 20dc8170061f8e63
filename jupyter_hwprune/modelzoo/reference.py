"""Write the expected outputs of both models: the folder's samples if they fit, else the reference runtime's outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..choose.choice import Choice
from ..core.errors import ToolchainError
from ..core.target import REFERENCE
from ..export.onnx import Exported
from ..measure.job import HERE, CaseOfJob, Job, tolerance_of
from ..toolchains.process import Failure, Progress
from .samples import Inputs, read_samples, stack

OURS, THEIRS = REFERENCE.toolchain, "the folder's sample outputs"


def expect(
    cases: Mapping[str, Exported], samples: Mapping[str, list[str]], inputs: Inputs, choice: Choice, progress: Progress
) -> tuple[str, str]:
    """Write the expected outputs of the cases; return where they come from, and why.

    Raises ToolchainError if the reference runtime cannot run the model.
    """
    own, folder = replace(choice, judge=REFERENCE), cases["pruned"].model.parent
    result = HERE.run(Job("run", own, folder, tuple(CaseOfJob(*each) for each in cases.items())), progress)
    if isinstance(result, Failure):
        raise ToolchainError(
            f"{OURS} cannot run this model, so there are no outputs to compare with: {result.reason}. "
            f"If it names an operator or a version, export the model again with one that {OURS} supports."
        )
    with np.load(cases["pruned"].expected) as file:
        computed = [file[key] for key in file.files]
    engine = next((each for each in ("framework", OURS, *samples) if each in samples), None)
    if engine is None:
        return OURS, f"The folder has no sample outputs, so {OURS}'s are the reference."
    given = _stacked(samples[engine], computed, inputs.batch)
    tolerance = tolerance_of(choice)
    if given is None:
        return OURS, f"The folder's sample outputs do not have the model's shapes, so {OURS}'s are the reference."
    error = max(_relative_error(*pair) for pair in zip(given, computed, strict=True))
    if not error <= tolerance:
        return OURS, (
            f"The folder's sample outputs are off from {OURS}'s by {error:.1e} of their largest value (tolerance "
            f"{tolerance:g}): they belong to another file, so {OURS}'s are the reference."
        )
    np.savez(cases["pruned"].expected, *given)
    return THEIRS, f"Outputs were compared with {THEIRS}; those of the dense twin, which has no samples, with {OURS}'s."


def _stacked(paths: Sequence[str], computed: Sequence[np.ndarray], rows: int) -> list[np.ndarray] | None:
    """Join the samples of each output; None if they do not have the shapes of the model's outputs."""
    samples = [list(sample.values()) for sample in read_samples(paths)]
    if any(len(sample) != len(computed) for sample in samples):
        return None
    joined = []
    for i, own in enumerate(computed):
        each = stack([sample[i] for sample in samples], own.ndim, rows) if own.ndim else None
        if each is None or each.shape != own.shape:
            return None
        joined.append(each)
    return joined


def _relative_error(given: np.ndarray, computed: np.ndarray) -> float:
    if not computed.size:
        return 0.0
    scale = max(float(np.abs(computed).max()), 1e-30)
    return float(np.abs(given.astype(np.float64) - computed.astype(np.float64)).max()) / scale
