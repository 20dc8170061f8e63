"""Make plans by a method's allocation: the same share of every layer, all layers ranked together, or by a scan."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..core.errors import NothingFitsError
from ..core.example import Example
from ..core.pattern import NM, Block, Channel
from ..report import Sensitivity
from .allocation import allocate, leave_dense
from .channels import Channels, nothing_removable, units_left
from .fitting import ASKED, ZeroPattern, find_fitting
from .graph import ChannelSet
from .knapsack import divide
from .layers import Weight, layers_with_weights
from .masks import block_sums, keep_top
from .method import MAGNITUDE, Method, Tell
from .plan import Part, Plan, uniform
from .reading import read_weights
from .sensitivity import ROWS, scan
from .served import Served
from .statistics import Statistics
from .zeroing import apply, masked, visit_all, worth


def plan_zeros(
    model: nn.Module,
    pattern: ZeroPattern,
    sparsity: float,
    method: Method = MAGNITUDE,
    served: Served | None = None,
    progress: Tell = lambda _pass: None,
    weights: Sequence[Weight] | None = None,
) -> Plan:
    """Plan zeros for every layer that can hold the pattern; with `served`, that its toolchain runs sparsely.

    `weights` are those of `model`, read with an example; without, the layers are those that their classes tell.

    Ranking all layers together takes their inputs from the dense model, and no layer loses all. Raises PruneError where
    no layer fits.
    """
    weights = read_weights(model) if weights is None else weights
    names = [each.name for each in weights]
    left_dense = leave_dense(names, method.dense)
    fitting, reasons = find_fitting(model, weights, dict.fromkeys(names, pattern), left_dense, served)
    found, parts = None, uniform(fitting, pattern, sparsity)
    if fitting and method.allocation != "uniform" and not isinstance(pattern, NM):
        if method.allocation == "global":
            shares, unreached = _ranked_together(model, fitting, pattern, sparsity, method)
            reasons |= unreached
        else:
            sizes = {name: layer.of(model).numel() for name, layer in fitting.items()}
            group = pattern.rows * pattern.columns if isinstance(pattern, Block) else 1
            groups = dict.fromkeys(sizes, group)
            found = _scan_by(method, progress)(model, sizes, partial(zero_smallest, fitting, pattern), groups=groups)
            shares = _divided(found, sparsity, method)
        parts = {name: Part(pattern, share) for name, share in shares.items()}
    if not parts:
        said = (
            "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:4]) or "it has no Linear or convolution"
        )
        raise NothingFitsError(
            f"No layer of this model fits the pattern {pattern}. {said}.", "Choose another --pattern."
        )
    return Plan(parts, reasons, found)


def plan_channels(
    channels: Channels, pattern: Channel, sparsity: float, method: Method = MAGNITUDE, progress: Tell = lambda _: None
) -> Plan:
    """Plan to remove channels from every set that no layer named dense makes; raises PruneError where none can go."""
    left_dense = leave_dense([name for name, _ in layers_with_weights(channels.dense)], method.dense)
    asked = {each.name for each in channels.coupled.sets if not left_dense.isdisjoint(each.makers)}
    reasons = {maker: ASKED for each in channels.coupled.sets if each.name in asked for maker in each.makers}
    sets = {each.name: each for each in channels.coupled.sets if each.name not in asked}
    if not sets:
        raise nothing_removable(pattern, channels.coupled.reasons | reasons)
    if method.allocation == "uniform":
        return Plan(uniform(sets, pattern, sparsity), reasons)
    found = None
    if method.allocation == "global":
        shares = _units_ranked_together(channels, sets, pattern, sparsity)
    else:
        assert method.calibration is not None
        found = scan_channels(channels, sets, method.calibration.batches, method.scan_score, progress)
        shares = _divided(found, sparsity, method)
    return Plan({name: Part(pattern, share) for name, share in shares.items()}, reasons, found)


def _divided(found: Sensitivity, sparsity: float, method: Method) -> dict[str, float]:
    return divide(found, sparsity) if method.allocation == "mixed" else allocate(found, sparsity)


def scan_channels(
    channels: Channels,
    sets: Mapping[str, ChannelSet],
    batches: Sequence[Example],
    score: Callable[[nn.Module], float] | None = None,
    progress: Tell = lambda _: None,
    rows: int = ROWS,
) -> Sensitivity:
    """Take the worst units from each set alone, and measure what the outputs (or the score) of the model lose."""
    ones = {name: torch.ones_like(p) for name, p in channels.dense.named_parameters(remove_duplicate=False)}
    weights = {name: int(each.sums(ones).sum()) for name, each in sets.items()}
    groups = {name: weights[name] // each.units for name, each in sets.items()}
    prune_one = partial(_silence_worst, sets, channels)
    tell = partial(_tell_pass, progress)
    return scan(channels.dense, weights, prune_one, batches, score=score, groups=groups, rows=rows, progress=tell)


def _tell_pass(progress: Tell, done: int, passes: int) -> None:
    progress(f"scan, pass {done} of {passes}")


def _scan_by(method: Method, progress: Tell) -> Callable[..., Sensitivity]:
    """Return `scan` with the data and the score that the method has for it."""
    assert method.calibration is not None
    return partial(
        scan,
        batches=method.calibration.batches,
        score=method.scan_score,
        progress=partial(_tell_pass, progress),
    )


def zero_smallest(
    fitting: Mapping[str, Weight], pattern: ZeroPattern, trial: nn.Module, name: str, share: float
) -> float:
    """Zero the smallest weights of one layer of a trial model."""
    keep = masked(worth(trial, fitting[name]), pattern, share)
    apply(trial, fitting[name], keep)
    return 1 - int(keep.sum()) / keep.numel()


def _silence_worst(
    sets: Mapping[str, ChannelSet], channels: Channels, trial: nn.Module, name: str, share: float
) -> float:
    """Zero all weights of a set's worst units: a cut, but for normalisations over channels."""
    units = sets[name].units
    gone = channels.scores[name].argsort()[: min(round(share * units), units - 1)]
    tensors = dict(trial.named_parameters(remove_duplicate=False))
    with torch.no_grad():
        for slot in sets[name].slots:
            if slot.parameter:
                tensors[slot.tensor].index_fill_(slot.dim, slot.positions[gone].flatten(), 0.0)
    if channels.reconstruction is not None and len(gone):
        channels.reconstruction.make_up(trial, name, gone)
    return len(gone) / units


def _ranked_together(
    model: nn.Module, fitting: Mapping[str, Weight], pattern: ZeroPattern, sparsity: float, method: Method
) -> tuple[dict[str, float], dict[str, str]]:
    """Rank the weights (blocks) of all layers together; return each layer's share, and why others were not reached."""
    scores: dict[str, Tensor] = {}

    def visit(name: str, statistics: Statistics | None = None) -> None:
        own = worth(model, fitting[name], statistics)
        own = block_sums(own, pattern.rows, pattern.columns) if isinstance(pattern, Block) else own
        own[torch.unravel_index(own.argmax(), own.shape)] = torch.inf  # every layer keeps its best
        scores[name] = own

    unreached = visit_all(model, fitting, method, visit)
    # the shares give back the exact counts, and with them the very mask of the common threshold
    return _shares_of_top(scores, sparsity, at_least=len(scores)), unreached


def _units_ranked_together(
    channels: Channels, sets: Mapping[str, ChannelSet], pattern: Channel, sparsity: float
) -> dict[str, float]:
    """Rank the units of all sets together, each by its score over the mean of its set, for layers differ in scale."""
    relative = {name: channels.scores[name] / channels.scores[name].mean().clamp_min(1e-30) for name in sets}
    shares = _shares_of_top(relative, sparsity)
    return {  # the shares of whole steps of the pattern, so that no rounding follows
        name: 1 - units_left(each, round((1 - shares[name]) * each.units), pattern) / each.units
        for name, each in sets.items()
    }


def _shares_of_top(scores: Mapping[str, Tensor], sparsity: float, at_least: int = 0) -> dict[str, float]:
    """Return for each name the share of its scores that is not among the highest of all."""
    if not scores:
        return {}
    flat = torch.cat([own.flatten() for own in scores.values()])
    keep = keep_top(flat, max(at_least, round((1 - sparsity) * flat.numel())))
    parts = torch.split(keep, [own.numel() for own in scores.values()])
    return {name: 1 - int(part.count_nonzero()) / part.numel() for name, part in zip(scores, parts, strict=True)}
