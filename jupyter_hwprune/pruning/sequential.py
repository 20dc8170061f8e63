"""Prune layer by layer: each layer gets the statistics of its inputs after the layers before it are pruned.

One Gram matrix is alive at a time. A pass ends at the layer it is for, and begins with the block that holds it where
the model can be cut into blocks: `replay` keeps what the block before gave, once for every calibration row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import InputError
from .calibration import Calibration
from .replay import Enough, Replay, replay
from .statistics import Accumulator, Statistics, reason_too_wide
from .trace import Trace, hooks, input_of, trace

Gathered = tuple[Statistics | None, list[str]]  # of a shared input, None where not finite; and who did not share it


def layer_by_layer(
    model: nn.Module,
    layers: Sequence[str],
    calibration: Calibration,
    visit: Callable[[str, nn.Module, Statistics], None],
    *,
    gram: bool,
    resume: bool = True,
    widths: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Visit the layers in the order in which the model runs them, each with the statistics of its inputs.

    `layers` are names of modules: Linear, convolutions, or others that multiply their input by a matrix, whose inputs'
    `widths` are given then. `visit` may change the layer it is given, and nothing else
    of `model` changes. Neighbours that read the same tensor (q, k and v) share a pass and a Statistics, which is only
    to be read, and not to be kept. Returns the reason for each layer not visited: none of the batches reached it, its
    Gram matrix would be too large, or its inputs are not finite. Without `resume` each pass begins at the model's
    inputs; the statistics are the same. Raises InputError for a batch that the model does not run on.

    The order of GPTQ's "true sequential" (Frantar et al. 2022, https://arxiv.org/abs/2210.17323); SparseGPT and Wanda
    take one pass for all layers of a block.
    """
    widths = widths or {}
    modules = {name: model.get_submodule(name) for name in layers}
    reasons = {n: why for n, layer in modules.items() if gram and (why := reason_too_wide(layer, widths.get(n)))}
    modules = {name: layer for name, layer in modules.items() if name not in reasons}
    if not modules:
        return reasons
    batches = calibration.batches
    with evaluation(model):
        calls = trace(model, modules, batches)
        reasons |= {name: _reason_not_reached(model, name) for name in modules if name not in calls.calls}
        runs = replay(model, batches, calls) if resume else Replay(model, batches, [], [])
        waiting = list(reversed(calls.groups))
        while waiting:
            group = waiting.pop()
            statistics, strangers = _gather({name: modules[name] for name in group}, runs, calls, widths, gram=gram)
            waiting += [[name] for name in reversed(strangers)]
            for name in (each for each in group if each not in strangers):
                if statistics is None:
                    reasons[name] = "its inputs for the calibration data are empty, or hold NaN or infinite values"
                else:
                    visit(name, modules[name], statistics)
            del statistics
    return reasons


def _gather(
    group: dict[str, nn.Module], runs: Replay, calls: Trace, widths: Mapping[str, int], *, gram: bool
) -> Gathered:
    first = next(iter(group))
    element = next((i for i, name in enumerate(runs.elements) if first == name or calls.within(first, name)), None)
    try:
        start = runs.start_of(element)
        found = _pass(group, runs, calls, start, widths, gram=gram)
        if found[0] is not None or start == 0:
            return found
    except InputError:
        if element is None or not runs.resumable[element]:
            raise
    assert element is not None
    runs.resumable[element] = False  # other batches need more of the prefix than the first one did
    return _pass(group, runs, calls, 0, widths, gram=gram)


def _pass(
    group: dict[str, nn.Module], runs: Replay, calls: Trace, start: int, widths: Mapping[str, int], *, gram: bool
) -> Gathered:
    names = list(group)
    sums = Accumulator(group[names[0]], gram=gram, width=widths.get(names[0]))
    strangers: set[str] = set()
    seen: dict[str, tuple[Tensor, int]] = {}

    def before(name: str, _layer: nn.Module, args: Any, kwargs: Any) -> None:
        x = input_of(args, kwargs)
        seen[name] = (x, x._version)  # noqa: SLF001
        if name == names[0]:
            sums.add(args, kwargs)
        elif names[0] not in seen or seen[names[0]][0] is not x or seen[names[0]][1] != x._version:  # noqa: SLF001
            strangers.add(name)
        if name == names[-1] and calls.calls[name] == 1:
            raise Enough

    with hooks() as handles:
        for name, layer in group.items():
            handles.append(layer.register_forward_pre_hook(partial(before, name), with_kwargs=True, prepend=True))
        for at in range(len(runs.batches)):
            runs.run(at, start)
            strangers |= {name for name in names[1:] if (name in seen) != (names[0] in seen)}
            seen.clear()
    statistics = sums.statistics()
    finite = statistics.rows > 0 and bool(torch.isfinite(statistics.norms).all())
    return statistics if finite else None, [name for name in names if name in strangers]


def _reason_not_reached(model: nn.Module, name: str) -> str:
    owner = model.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, nn.MultiheadAttention):
        return (
            "nn.MultiheadAttention reads its weight without calling it, so its inputs are not seen; use --importance "
            "magnitude for it"
        )
    return "no calibration batch reached it; give data that does, or use --importance magnitude"


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Run in evaluation mode, without gradients and without torch's fused encoder layers, which call no layer."""
    with ExitStack() as after, torch.random.fork_rng(devices=[]), torch.inference_mode(mode=False), torch.no_grad():
        after.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        for module in model.modules():
            after.callback(setattr, module, "training", module.training)
        model.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        yield
