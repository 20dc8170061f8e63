"""The panel's work in the background: parse the form's line with the magic's own parser, and run it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..toolchains.process import Progress
from .asked import arguments, parse

if TYPE_CHECKING:
    from ..keep.run import Run  # and torch with it, which takes seconds to load


@dataclass(frozen=True)
class Finished:
    """A run, and its report in all MIME types."""

    run: Run
    shown: dict[str, Any]


def work_of(shell: Any, line: str) -> Callable[[Progress], Finished]:
    """Return a function that runs `line`; it reads the namespace when called, and raises what the magic raises."""

    def work(progress: Progress) -> Finished:
        from ..flow import hwprune

        options = parse(line.removeprefix("%hwprune"))
        assert options is not None
        asked = arguments(shell.user_ns, options)
        kept = {"model": _copied(asked["model"]), "example": _detached(asked["example"])}
        run = hwprune(**asked | kept, progress=progress)
        return Finished(run, run._repr_mimebundle_())

    return work


def _copied(model: Any) -> Any:
    """Copy the model, which cells may change during the run; `hwprune` refuses one that cannot be copied."""
    try:
        return copy.deepcopy(model)
    except Exception:  # noqa: BLE001 - any module's own code
        return model


def _detached(example: Any) -> Any:
    from torch import Tensor
    from torch.utils import _pytree as pytree

    return pytree.tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), example)
