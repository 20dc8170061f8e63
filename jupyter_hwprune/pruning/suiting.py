"""Choose the toolchain by what the model holds, and find a line that fits where the pattern asked for fits nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ..choose.checks import check_method
from ..choose.choice import Choice, usual_share
from ..core.errors import InputError
from ..core.example import Example
from ..core.goal import FORMS as LIMITS
from ..core.options import magic_line
from ..core.pattern import NM, Channel, Depth, Pattern, Unstructured
from . import plan_and_prune
from .allocation import leave_dense
from .fitting import find_fitting
from .layers import Weight
from .macs import count_macs
from .method import Method
from .reading import read_weights
from .served import Served

ENOUGH = 0.5  # of the arithmetic that another toolchain serves, for the preferred one to stay


def suited(choice: Choice, model: nn.Module, example: Example) -> Choice:
    """Return the choice with its dtype, and with the toolchain that has sparse kernels for what this model holds.

    The choice's own stays, unless it serves no layer, or less than `ENOUGH` of what another serves that can do as much
    on this machine. Where no toolchain serves any layer, it stays too.
    """
    own, *others = (each.for_model_in(dtype_of(model)) for each in choice.with_each_toolchain())
    if isinstance(own.pattern, (Channel, Depth)) or Served.of(own) is None or not others:
        return own
    weights = read_weights(model, example)
    macs = count_macs(model, example, weights)
    work = {each.judge.toolchain: _work(each, model, weights, macs) for each in (own, *others)}
    serving = [each for each in (own, *others) if work[each.judge.toolchain]]
    alike = [each for each in serving if each.way == serving[0].way]  # in order of what they can do here
    most = max((work[each.judge.toolchain] for each in alike), default=0)
    taken = next((each for each in alike if work[each.judge.toolchain] >= ENOUGH * most), own)
    if taken is own:
        return own
    passed, name, share = own.judge.toolchain, taken.judge.toolchain, work[own.judge.toolchain] / most
    serves = f"{100 * share:.2g} % of the multiply-accumulates that {name} serves" if share else "no layer"
    said = f"{passed} is preferred for {own.target.name}, but serves {serves} of this model in {own.pattern}: {name} is"
    return replace(taken, remarks=(*taken.remarks, f"{said} taken instead. --toolchain {passed} would keep it."))


def _work(choice: Choice, model: nn.Module, weights: Sequence[Weight], macs: Mapping[str, int]) -> int:
    """Count the multiply-accumulates of the layers that the chosen toolchain would run sparsely, at least 1 a layer."""
    served = Served.of(choice)
    if served is None or isinstance(choice.pattern, (Channel, Depth)):
        return 0
    names = [each.name for each in weights]
    left_dense = leave_dense(names, choice.dense)
    fitting, _ = find_fitting(model, weights, dict.fromkeys(names, choice.pattern), left_dense, served)
    return sum(max(1, macs.get(name, 0)) for name in fitting)


def dtype_of(model: nn.Module) -> str:
    """Return the dtype of most of the model's weights."""
    sizes: Counter[str] = Counter()
    for parameter in model.parameters():
        sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return sizes.most_common(1)[0][0] if sizes else "float32"


def line_that_fits(
    choice: Choice, model: nn.Module, example: Example, asked: Mapping[str, Any], enough: float | None = None
) -> str | None:
    """Return the line that was `asked` for with the first pattern that does fit this model, tried on it; None if none.

    Where the share was too small and `enough` would do, the pattern stays. Otherwise the target's own patterns come
    first, and options that do not go with the pattern are left out.
    """
    if enough is not None and not any(asked.get(limit) for limit in LIMITS):
        return magic_line({**asked, "sparsity": enough}, cell=asked.get("cell", False))
    for pattern in _other_patterns(choice):
        sparsity = None if isinstance(pattern, NM) else asked.get("sparsity")
        trial = replace(choice, pattern=pattern, sparsity=sparsity or usual_share(choice.judge, pattern))
        changed = {"pattern": pattern, "sparsity": sparsity}
        try:
            check_method(pattern, trial)
        except InputError:
            changed |= dict.fromkeys(("importance", "solver", "allocation", "calib", "permute", "tune_blocks"))
        try:
            plan_and_prune(model, example, pattern, trial.sparsity, Method(dense=trial.dense), Served.of(trial))
        except Exception:  # noqa: BLE001, S112 - whatever a trial raises, that pattern is not the one to offer
            continue
        return magic_line({**asked, **changed}, cell=asked.get("cell", False))
    return None


def _other_patterns(choice: Choice) -> Iterator[Pattern]:
    offered = [offer.pattern for judge in (choice.judge, *choice.target.judges) for offer in judge.offers]
    yield from dict.fromkeys(
        each for each in (*offered, Channel(8), Channel(1), Unstructured()) if each != choice.pattern
    )
