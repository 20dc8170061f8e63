"""Write a run as a SparseML recipe that makes the same zeros: each layer with its own sparsity, ranked by magnitude.

SparseML's masks cannot express all of hwprune's patterns. These work (seen with SparseML 1.8):

| pattern      | layers                | otherwise                                                               |
|--------------|-----------------------|-------------------------------------------------------------------------|
| unstructured | all                   |                                                                         |
| n:m          | Linear                | its masks for convolutions have the wrong shape                         |
| AxB          | A or B is 1, or B is  | its blocks are runs of A*B weights in memory, not rectangles            |
|              | the layer's inputs    |                                                                         |
| channel      | none                  | a recipe zeroes weights and leaves the network as it is                 |
"""

from collections import defaultdict

from torch import nn

from ..core.errors import InputError, ReportError
from ..core.pattern import NM, Block, Channel, Depth, Pattern, parse_pattern
from ..pruning.layers import PRUNABLE, TRANSPOSED, as_matrix, weight_name
from ..pruning.masks import block_sums
from ..report import Layer, Report

MODIFIER = """  - !MagnitudePruningModifier
    init_sparsity: 0.0
    final_sparsity: {sparsity}
    start_epoch: 0.0
    end_epoch: 1.0
    update_frequency: 1.0
    params: [{params}]
    mask_type: {mask}
"""


def recipe_text(model: nn.Module, report: Report) -> str:
    """Return a recipe that gives the dense model the zeros of `model`; raises InputError if no recipe can."""
    request = report.request
    if request.recipe is not None:
        if report.returned:
            names = ", ".join(each.name for each in report.returned[:4])
            raise InputError(
                f"This run was pruned by a recipe, but some layers got their dense weights back afterwards ({names}); "
                "the recipe would prune those too. Remove them from the recipe, or run with --keep-all."
            )
        return request.recipe.text
    if not report.layers:
        raise InputError("This run left every layer dense, so there are no zeros to write a recipe for.")
    if report.omitted:
        raise ReportError("The report leaves out layers, so a recipe made from it would too.")
    if isinstance(parse_pattern(request.pattern), Depth):
        raise InputError(
            "This run removed whole blocks, but a SparseML recipe can only zero weights. Keep the pruned model itself "
            "(run.model), or prune with unstructured or 2:4."
        )
    together: dict[tuple[str, str], list[str]] = defaultdict(list)
    for layer in report.layers:
        pattern, bare = parse_pattern(layer.pattern), weight_name(model, layer.name) == layer.name
        module = None if bare else model.get_submodule(layer.name)
        mask = _mask(layer, module, pattern)
        alike = together[_sparsity(pattern, module, model.get_parameter(weight_name(model, layer.name))), mask]
        # SparseML's name of a weight has a leading dot if the model itself is the layer
        alike.append(f'"{layer.name}"' if bare else f'"{layer.name}.weight"')
    return (
        f"# {request.pattern} at {request.sparsity:g}, {request.allocation}: the zeros of a run of jupyter-hwprune.\n"
        f"# Dense weights {report.fingerprints.dense}; made for SparseML 1.8, in one shot.\nmodifiers:\n"
    ) + "".join(
        MODIFIER.format(sparsity=sparsity, params=", ".join(names), mask=mask)
        for (sparsity, mask), names in together.items()
    )


def _sparsity(pattern: Pattern, module: nn.Module | None, weight: nn.Parameter) -> str:
    """Write the share of zeros so that SparseML's rounding gives exactly their number."""
    if isinstance(pattern, NM):
        return _number(pattern.sparsity)
    if isinstance(pattern, Block) and module is not None:
        empty = block_sums((as_matrix(weight.detach(), module) != 0).float(), pattern.rows, pattern.columns) == 0
        return _number(int(empty.sum()) / empty.numel())
    return _number(1 - int(weight.count_nonzero()) / weight.numel())


def _number(value: float) -> str:
    """Write a number that YAML 1.1 reads as a float: with a point, and without an exponent."""
    return f"{value:.17f}".rstrip("0") if value else "0.0"


def _mask(layer: Layer, module: nn.Module | None, pattern: Pattern) -> str:
    if isinstance(pattern, Channel):
        raise InputError(
            "This run removed channels, but a SparseML recipe can only zero weights. "
            "Keep the pruned model itself (run.model), or prune with unstructured or 2:4."
        )
    if isinstance(pattern, NM):
        if not isinstance(module, nn.Linear):
            raise _cannot(layer, f"SparseML makes {pattern} masks for Linear layers only")
        return f'"{pattern}"'
    if isinstance(pattern, Block):
        known = isinstance(module, PRUNABLE) and not isinstance(module, TRANSPOSED)
        inputs = as_matrix(module.get_parameter("weight"), module).shape[2] if known and module is not None else 0
        whole = min(pattern.rows, pattern.columns) == 1 or (pattern.columns == inputs and isinstance(module, nn.Linear))
        if not known or not whole:
            raise _cannot(layer, f"SparseML's blocks of {pattern} are runs of weights in memory, not rectangles")
        return f"[{pattern.rows}, {pattern.columns}]"
    return "unstructured"


def _cannot(layer: Layer, why: str) -> InputError:
    return InputError(
        f"No SparseML recipe can make the zeros of {layer.name}, a {layer.kind} with {layer.pattern}: {why}. Keep the "
        "pruned model itself (run.model), or prune with unstructured or, for Linear layers, 2:4."
    )
