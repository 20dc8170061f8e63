"""`--recover`: train the pruned copy to give the dense model's outputs on the calibration inputs, without labels.

Distillation (Hinton et al. 2015, arXiv:1503.02531) from the model that it was pruned from. The loss holds the values of
every output, by their squared error relative to the dense model's, and the order of what may be classes, by the
Kullback-Leibler divergence of softened distributions. Their temperature follows the spread of the dense outputs, so
that their scale makes no difference (Sun et al. 2024, arXiv:2403.01427).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ...choose.scoring import device_of
from ...core.copying import copied
from ...core.errors import InputError, counted
from ...core.example import Example
from ...core.outputs import tensors_of
from ...core.torch_state import own_torch_state
from ...report import Recovered
from ...toolchains.process import Progress
from ..batch_norm import FEWEST_ROWS, batch_norms, estimate
from ..batches import joined

MOST_STEPS = 1_000_000
RATES = (3e-3, 3e-4)  # of learning; the second where the first does not bring the outputs nearer
WARM_UP = 0.1  # of all steps, before the cosine
ROWS = 64  # a step
NORM_ROWS = 16  # fewer in a batch say too little of a variance for BatchNorm to train with
SOFTNESS = 0.25  # the temperature, in standard deviations of the dense model's outputs
JUDGED = 8  # batches that tell the loss before and after


def check_recover(steps: Any, *, calib: Any, has_cell: bool, has_recipe: bool) -> None:
    """Raise InputError unless `steps` is None or a number of steps, and nothing else trains or prunes the copy."""
    if steps is None:
        return
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise InputError(f"--recover is {steps!r}; give a whole number of training steps, such as 200.")
    if has_cell:
        raise InputError(
            f"--recover is {steps}, but the cell under %%hwprune (or finetune=) trains the pruned copy already. Remove "
            "--recover to train with your own labels, or the cell to recover without."
        )
    if has_recipe:
        raise InputError(
            f"--recover is {steps}, but a recipe prunes by its own modifiers and takes no training after them. Use "
            "--pattern instead of --recipe."
        )
    if calib is None:
        raise InputError(
            f"--recover is {steps}, but there are no calibration inputs to train on: on the example alone, the copy "
            f"would forget all other inputs. Give at least {FEWEST_ROWS} rows of data like yours, without labels: "
            "--calib train_x."
        )


@dataclass
class Recovery:
    """The fine-tune step of `--recover`; `found` says what its last call did.

    `dense` is the teacher, `batches` are the calibration inputs. BatchNorm trains with the batches' own statistics and
    gets running ones at the end, unless `keep_statistics`. The same inputs give the same weights.
    """

    dense: nn.Module
    batches: Sequence[Example]
    steps: int
    keep_statistics: bool
    score: Callable[[nn.Module], float | None] | None
    progress: Progress
    found: Recovered | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.rows = sum(each.batch for each in self.batches)
        if self.rows < FEWEST_ROWS:
            raise InputError(
                f"--recover needs at least {FEWEST_ROWS} rows of calibration inputs, and --calib gives "
                f"{counted(self.rows, 'row')}: trained on so few, the copy would forget all other inputs."
            )

    def __call__(self, model: nn.Module) -> None:
        """Train `model` in place, on its device; raises InputError where its outputs leave nothing to train."""
        start = time.monotonic()
        with own_torch_state(), _at_least_float32(model.eval()):
            distilling = _Distilling.of(self, model)
            distilling.follow_statistics()
            first = distilling.judge()
        before = None if self.score is None else self.score(model)
        with own_torch_state(), _at_least_float32(model):
            last = distilling.train(first)
        kept = last < first
        seconds = round(time.monotonic() - start, 1)
        self.found = Recovered(self.steps, self.rows, first, last if kept else first, seconds, before, kept)


@dataclass
class _Distilling:
    """One recovery of one copy: `model` is the student in float32, `norms` its layers that train with batches."""

    model: nn.Module
    teacher: nn.Module
    batches: Sequence[Example]
    rows: int | None  # of a step; None for the batches as they come
    steps: int
    progress: Progress
    norms: Sequence[nn.Module]

    @classmethod
    def of(cls, asked: Recovery, model: nn.Module) -> _Distilling:
        device = device_of(model)
        teacher = copied(asked.dense).eval().to(device)
        for each in (*teacher.parameters(), *teacher.buffers()):
            each.data = _widened(each.data)
        own = [batch.changed(lambda t: _widened(t).to(device)) for batch in asked.batches]
        batches = joined(own)
        rows: int | None = ROWS
        try:
            next(_drawn(batches, rows)).outputs(teacher)
        except Exception:  # noqa: BLE001 - the user's own forward, which may be written for one batch size
            batches, rows = own, None
        wide = all(each.batch >= NORM_ROWS for each in batches)
        norms = batch_norms(model) if wide and not asked.keep_statistics else []
        return cls(model, teacher, batches, rows, asked.steps, asked.progress, norms)

    def follow_statistics(self) -> None:
        if self.norms:
            estimate(self.model, self.batches)

    def judge(self) -> float:
        """Return the mean loss over some batches, each whole or its first rows."""
        with torch.no_grad():
            losses = [self._loss(_first(each, self.rows)).item() for each in self.batches[:JUDGED]]
        return sum(losses) / len(losses)

    def train(self, first: float) -> float:
        """Train from these weights at one rate after the other until the loss falls below `first`; return the last."""
        before, last = deepcopy(self.model.state_dict()), math.inf
        parameters = [each for each in self.model.parameters() if each.is_floating_point()]
        frozen = [each for each in parameters if not each.requires_grad]
        for each in parameters:
            each.requires_grad_()
        for rate in RATES:
            self._descend(parameters, rate)
            self.follow_statistics()
            last = self.judge()
            if last < first:
                break
            self.model.load_state_dict(before)  # also where the loss is NaN
        for each in parameters:
            each.grad = None
        for each in frozen:
            each.requires_grad_(False)
        return last

    def _descend(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        optimizer = AdamW(parameters, rate)
        warm = max(1, round(WARM_UP * self.steps))
        cosine = LambdaLR(
            optimizer, lambda at: min((at + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * at / max(1, self.steps)))
        )
        for norm in self.norms:
            norm.train()
        for step, batch in enumerate(itertools.islice(_drawn(self.batches, self.rows), self.steps), 1):
            optimizer.zero_grad()
            loss = self._loss(batch)
            if not loss.requires_grad:
                raise InputError(
                    "--recover cannot train this model: no gradient reaches its outputs, as under torch.no_grad() or "
                    "after argmax. Return the values before that from forward, or remove --recover."
                )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            cosine.step()
            self.progress("train", f"recovery, step {step} of {self.steps}, loss {loss.item():.3g}")
        self.model.eval()

    def _loss(self, batch: Example) -> Tensor:
        """Return the mean distance of all outputs of floating point from the teacher's."""
        pairs = zip(tensors_of(batch.through(self.model)), batch.outputs(self.teacher), strict=True)
        losses = [_distance(own, wanted) for own, wanted in pairs if wanted.is_floating_point() and wanted.numel()]
        if not losses:
            raise InputError(
                "--recover cannot train this model: none of its outputs is a tensor of floating point to match. Return "
                "logits or features from forward, or remove --recover."
            )
        return torch.stack(losses).mean()


def _distance(own: Tensor, wanted: Tensor) -> Tensor:
    tiny = torch.finfo(wanted.dtype).tiny
    error = functional.mse_loss(own, wanted) / wanted.square().mean().clamp_min(tiny)
    classes = 1 if wanted.ndim > 3 else -1  # of an image or a volume [N, K, H, W], else of a row [N, K] or [N, T, K]
    if wanted.ndim < 2 or wanted.shape[classes] < 2:
        return error
    temperature = (SOFTNESS * wanted.std()).clamp_min(tiny)
    soft, target = (functional.log_softmax(each / temperature, classes) for each in (own, wanted))
    return error + functional.kl_div(soft, target, log_target=True, reduction="none").sum(classes).mean()


def _drawn(batches: Sequence[Example], rows: int | None) -> Iterator[Example]:
    """Yield batches of `rows` rows for ever, in random order, and none twice before all others."""
    random = torch.Generator().manual_seed(0)
    while True:
        for at in torch.randperm(len(batches), generator=random).tolist():
            whole = batches[at]
            if rows is None or whole.batch <= rows:
                yield whole
                continue
            order = torch.randperm(whole.batch, generator=random)
            yield from (whole.taken(order[at : at + rows]) for at in range(0, whole.batch - rows + 1, rows))


def _first(batch: Example, rows: int | None) -> Example:
    return batch if rows is None or batch.batch <= rows else batch.taken(torch.arange(rows))


@contextlib.contextmanager
def _at_least_float32(model: nn.Module) -> Iterator[None]:
    """Have the model's tensors in no less than float32 for a while: an optimiser's steps are too small for 16 bits."""
    tensors = [*model.parameters(), *model.buffers()]
    dtypes = [each.dtype for each in tensors]
    for each in tensors:
        each.data = _widened(each.data)
    try:
        yield
    finally:
        for each, dtype in zip(tensors, dtypes, strict=True):
            each.data = each.data.to(dtype)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor
