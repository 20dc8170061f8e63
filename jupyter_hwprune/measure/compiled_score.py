"""The user's score of a compiled int8 model: a torch model whose forward runs the compiled one in a worker."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..choose.scoring import Scorer
from ..core.copying import copied
from ..core.errors import InputError, ToolchainError
from ..core.example import Example
from ..core.outputs import with_tensors
from ..core.rows import RowsError, cut, join
from ..report import Corner, Corners, Scores
from ..toolchains.serving import Server
from .bench import Bench
from .candidates import Findings
from .job import DENSE, Job


def with_scores(
    bench: Bench, found: Findings, models: Sequence[nn.Module], example: Example, scorer: Scorer, scores: Scores | None
) -> Findings:
    """Add the scores to the four models of the findings: those of the int8 models by running what was compiled.

    `models` are dense and pruned as torch has them. Where the compiled models cannot be scored, the reason is added.
    """
    corners = found.corners
    if corners is None or not corners.rows or scores is None:
        return found
    names = (DENSE, next(name for name in found.twins if name != DENSE))
    taken: list[float | None] = [scores.dense, scores.pruned]
    for name, model in zip(names, models, strict=True):
        bench.progress("score", f"{name} int8")
        job = Job("serve", bench.choice, bench.folder, (found.twins[name].of_job(name),))
        with bench.place.serve(job) as served:
            running = StandIn(model, example, served)
            try:
                taken.append(scorer.of(running.model))
            except InputError as error:
                return replace(found, corners=_scored(corners, taken, running.refused or str(error)))
        if running.refused or not running.runs:
            reason = running.refused or "the score never calls the model, so it cannot score a compiled one"
            return replace(found, corners=_scored(corners, taken[:2], reason))
    return replace(found, corners=_scored(corners, taken, None))


def _scored(corners: Corners, taken: Sequence[float | None], unscored: str | None) -> Corners:
    known = [*taken, *[None] * (len(corners.rows) - len(taken))]
    rows: list[Corner] = [replace(row, score=score) for row, score in zip(corners.rows, known, strict=True)]
    return replace(corners, rows=tuple(rows), unscored=unscored)


class StandIn:
    """`model` is a copy of a torch model that runs the compiled one instead; `runs` counts its calls.

    It keeps the attributes of the original. Its parts cannot be called alone, since the compiled model has none;
    `refused` is the reason why a call was refused.
    """

    def __init__(self, model: nn.Module, example: Example, served: Server) -> None:
        self.model = copied(model).eval()
        self.served, self.size = served, example.batch
        self.runs, self.refused = 0, ""
        self.signature = inspect.signature(self.model.forward)
        self.like = self._bound(*example.args, **example.kwargs)
        order = self.like.tensors
        self.order = [next(at for at, each in enumerate(order) if each is own) for own in example.tensors]
        with torch.no_grad():
            self.form = example.through(self.model)
        for name, module in self.model.named_modules():
            module.forward = self._forward if module is self.model else self._refusing(name)

    def _bound(self, *args: Any, **kwargs: Any) -> Example:
        """Return the arguments by the names that the model's forward has for them, with its defaults."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return Example((), dict(bound.arguments))

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        self.runs += 1
        try:
            given = self._bound(*args, **kwargs)
            parts = [self._run(part) for part in cut(given, self.like)]
            outputs = join(parts, given.batch, self.size)
        except (RowsError, ToolchainError, TypeError) as error:
            self.refused = f"the compiled model takes inputs like the example, but {error}"
            raise
        device = given.tensors[0].device
        return with_tensors(self.form, iter([each.to(device) for each in outputs]))

    def _run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        inputs = [tensors[at].numpy() for at in self.order]
        return [torch.from_numpy(each) for each in self.served.run(inputs)]

    def _refusing(self, name: str) -> Any:
        def forward(*_args: Any, **_kwargs: Any) -> NoReturn:
            self.refused = f"the score calls {name}, a part of the model, which a compiled model cannot run alone"
            raise RowsError(self.refused)

        return forward
