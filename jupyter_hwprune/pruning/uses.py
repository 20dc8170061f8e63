"""Record what a model does with its parameters in one run: which axis of each is summed in products, and how often.

Beside each parameter run its coordinates: for each dimension a tensor that holds every element's index along it. What
views, slices and copies do to the parameter is done to these too, so that a product's operand tells where it came from.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from ..core.example import Example
from .sequential import evaluation
from .trace import hooks, input_of

VIEWS = {"view", "_unsafe_view", "_reshape_alias", "reshape"}  # of coordinates, these may need a copy
MOVES = {"t", "transpose", "permute", "expand", "slice", "select", "unsqueeze", "squeeze", "split", "split_with_sizes"}
MOVES |= {
    "unbind",
    "index",
    "index_select",
    "clone",
    "alias",
    "detach",
    "unsafe_split",
    "unsafe_chunk",
    "chunk",
    "narrow",
}
SHAPES = {"size", "stride", "sym_size", "_to_copy", "to"}
SUMMED = {  # operator -> its two factors among its arguments, and which axis of each it sums over
    "mm": ((0, -1), (1, -2)),
    "bmm": ((0, -1), (1, -2)),
    "addmm": ((1, -1), (2, -2)),
    "baddbmm": ((1, -1), (2, -2)),
    "mv": ((0, -1), (1, -1)),
    "addmv": ((1, -1), (2, -1)),
    "linear": ((0, -1), (1, -1)),
    "_grouped_mm": ((0, -1), (1, -2)),
}


@dataclass
class Use:
    """What one parameter does: `summed` are its axes that products sum over, and `macs` their multiply-accumulates.

    `convolution` has the number of groups and whether it is transposed; `others` are the operators that are neither a
    product nor a convolution. `of_input`: every product takes the very input of the module that holds the parameter.
    """

    summed: set[tuple[int, ...]] = field(default_factory=set)
    convolution: tuple[int, bool] | None = None
    others: set[str] = field(default_factory=set)
    macs: int = 0
    of_input: bool = True


def record_uses(model: nn.Module, names: Collection[str], example: Example) -> dict[str, Use]:
    """Run the example through the model, and return for each parameter named what was done with it."""
    named = {name: model.get_parameter(name) for name in names}
    recorder = _Recorder(named)
    with hooks() as handles, evaluation(model):
        for owner in {name.rpartition(".")[0] for name in names}:
            module = model.get_submodule(owner)
            handles.append(module.register_forward_pre_hook(recorder.enter(owner), with_kwargs=True))
        with recorder:
            example.through(model)
    return dict(recorder.uses)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: defaultdict[str, Use] = defaultdict(Use)
        self.inputs: dict[str, Any] = {}  # of the last call of each module that holds parameters
        self.known: WeakTensorKeyDictionary = WeakTensorKeyDictionary()  # tensor -> its parameter and coordinates
        for name, parameter in named.items():
            self.known[parameter] = (name, _coordinates(parameter))

    def enter(self, owner: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_module: nn.Module, args: Any, kwargs: Any) -> None:
            self.inputs[owner] = input_of(args, kwargs) if args or "input" in kwargs else None

        return note

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outcome = func(*args, **kwargs)
        leaves = [
            leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf in self.known
        ]
        if leaves:
            operator = func._schema.name.rpartition("::")[2]  # noqa: SLF001 - its public name holds the overload
            if len(leaves) == 1 and args and args[0] is leaves[0] and operator in VIEWS | MOVES | SHAPES:
                self._carry(operator, func, leaves[0], args, kwargs, outcome)
            else:
                for leaf in leaves:
                    self._used(operator, leaf, args, outcome)
        return outcome

    def _carry(self, operator: str, func: Any, tensor: Tensor, args: Any, kwargs: Any, outcome: Any) -> None:
        """Do to the coordinates what was done to the tensor."""
        name, coordinates = self.known[tensor]
        if operator in SHAPES:
            moved = [coordinates]
            outcome = [outcome]
        elif operator in VIEWS:
            moved, outcome = [[each.reshape(outcome.shape) for each in coordinates]], [outcome]
        else:
            made = [func(each, *args[1:], **kwargs) for each in coordinates]
            several = isinstance(outcome, (list, tuple))
            moved, outcome = (list(zip(*made, strict=True)), outcome) if several else ([made], [outcome])
        for part, own in zip(outcome, moved, strict=True):
            if isinstance(part, Tensor):
                self.known[part] = (name, list(own))

    def _used(self, operator: str, tensor: Tensor, args: Any, outcome: Any) -> None:
        name, coordinates = self.known[tensor]
        use = self.uses[name]
        factors = SUMMED.get(operator, ())
        mine = next(((i, axis) for i, axis in factors if args[i] is tensor), None)
        if operator == "convolution" and args[1] is tensor and all(_is_own(coordinates, dim) for dim in (0, 1)):
            _, _, _, _, _, _, transposed, _, groups = args
            use.convolution = (groups, transposed)
            use.macs += (args[0] if transposed else outcome).numel() * tensor[0].numel()
            return
        if mine is None:
            use.others.add(operator.strip("_"))
            return
        at, axis = mine
        factor = next(args[i] for i, _ in factors if i != at)
        use.summed.add(_varying(coordinates, axis))
        use.macs += outcome.numel() * tensor.shape[axis]
        given = self.inputs.get(name.rpartition(".")[0])
        use.of_input &= (
            isinstance(given, Tensor)
            and (given.data_ptr(), given.numel()) == (factor.data_ptr(), factor.numel())
            and given.shape[-1] == tensor.shape[axis]
        )


def _coordinates(parameter: Tensor) -> list[Tensor]:
    shape = parameter.shape
    return [
        torch.arange(size).reshape([-1 if d == dim else 1 for d in range(len(shape))]).expand(shape)
        for dim, size in enumerate(shape)
    ]


def _is_own(coordinates: Sequence[Tensor], dim: int) -> bool:
    """Say whether a dimension of a tensor is the parameter's dimension of that number."""
    return _varying(coordinates, dim) in {(dim,), ()}


def _varying(coordinates: Sequence[Tensor], axis: int) -> tuple[int, ...]:
    """Return the parameter's dimensions that change along one axis of a tensor, from its first element on."""
    found = []
    for dim, own in enumerate(coordinates):
        line = own.movedim(axis, -1).reshape(-1, own.shape[axis])[0] if own.numel() else own
        if line.numel() and bool((line != line[0]).any()):
            found.append(dim)
    return tuple(found)
