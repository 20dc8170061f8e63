"""`--recover`: without a cell and without labels, the pruned copy learns the dense model's outputs again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.report.words import line
from jupyter_hwprune.report.words.facts import facts
from tests.conftest import fingerprint

NOT_MEASURED: dict[str, Any] = {"target": "tpu-v5e", "toolchain": "xla"}  # only the pruning takes time


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.body(x).mean((2, 3)))
        return made


class Task:
    """scikit-learn's digits, a network that knows them, and its accuracy on images that it has not seen."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        x, y = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16, torch.tensor(bunch.target)
        torch.manual_seed(0)
        self.seen, self.unseen, self.labels = x[:1000], x[1000:], y[1000:]
        self.net = Digits()
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=4e-3)
        for _ in range(5):
            for rows in torch.randperm(1000).tensor_split(20):
                optimiser.zero_grad()
                functional.cross_entropy(self.net(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()

    def accuracy(self, model: nn.Module) -> float:
        return float((model.eval()(self.unseen).argmax(1) == self.labels).float().mean())

    def run(self, **options: Any) -> Run:
        given = {"score": self.accuracy, "calib": self.seen, "calib_name": "seen", **NOT_MEASURED}
        return hwprune(self.net, self.unseen[:8], **given | options)


@pytest.fixture(scope="module", autouse=True)
def task() -> Iterator[Task]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a network this small trains fastest on one
    yield Task()
    torch.set_num_threads(threads)


def scores(run: Run) -> tuple[float, float]:
    assert run.report.scores is not None
    return run.report.scores.dense, run.report.scores.pruned


@pytest.mark.parametrize(
    ("pattern", "sparsity"), [("channel", 0.5), ("unstructured", 0.75)], ids=["channels", "single weights"]
)
def test_a_line_without_a_cell_brings_the_score_back(task: Task, pattern: str, sparsity: float) -> None:
    """From what BatchNorm's new statistics leave of it, more than half of the way to the dense model's is gained."""
    task.net.train()
    task.net.body[0].weight.requires_grad_(False)
    mark, state = fingerprint(task.net), torch.random.get_rng_state()
    dense, before = scores(task.run(pattern=pattern, sparsity=sparsity, importance="magnitude"))
    run = task.run(pattern=pattern, sparsity=sparsity, recover=150)
    assert dense > 0.9
    assert before < dense - 0.1
    found = run.report.recovered
    assert found is not None
    assert found.score_before == pytest.approx(before, abs=0.02)
    assert scores(run)[1] - before > 0.5 * (dense - before)
    assert found.last_loss < found.first_loss / 4
    assert (found.steps, found.rows, found.kept) == (150, 1000, True)

    assert fingerprint(task.net) == mark
    assert torch.equal(torch.random.get_rng_state(), state)
    assert task.net.training
    assert run.model.training
    assert not task.net.body[0].weight.requires_grad
    assert not run.model.get_parameter("body.0.weight").requires_grad
    assert all(each.grad is None for each in run.model.parameters())
    task.net.body[0].weight.requires_grad_()
    zeros = [float((p == 0).float().mean()) for p in run.model.parameters() if p.ndim > 1]
    assert all(each == pytest.approx(0.75 if pattern == "unstructured" else 0, abs=0.01) for each in zeros)

    said = {each.name: each.said for each in facts(run.report)}["recovered"]
    assert said.startswith("by 150 steps without labels on 1000 rows in")
    assert f"; the score before was {found.score_before:.4g}" in said
    assert line(run.report).startswith("%hwprune model --target tpu-v5e:xla")
    assert "--calib seen" in line(run.report)
    assert "--recover 150" in line(run.report)
    assert Report.from_json(run.report.to_json()).recovered == found


def test_the_same_inputs_give_the_same_weights_in_each_step_of_a_schedule(task: Task) -> None:
    options = {"pattern": "unstructured", "sparsity": 0.8, "schedule": "cubic", "steps": 2, "recover": 3}
    told: list[str] = []
    first, second = (
        task.run(progress=lambda phase, detail: told.append(f"{phase}: {detail}"), **options) for _ in range(2)
    )
    assert first.report.fingerprints == second.report.fingerprints
    steps = [each for each in told if each.startswith("train: recovery, step 3 of 3, loss ")]
    assert len(steps) >= 4
    assert line(first.report).startswith("%hwprune")  # no cell goes under it


def test_weights_of_16_bits_stay_so_and_groups_keep_their_zeros(task: Task) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)).bfloat16()
    before = net.get_parameter("0.weight")
    x = torch.randn(128, 64, dtype=torch.bfloat16)
    run = hwprune(net, x[:4], pattern="2:4", calib=x, recover=40, **NOT_MEASURED)
    weight = run.model.get_parameter("0.weight")
    assert weight.dtype is torch.bfloat16
    assert bool(((weight.reshape(-1, 4) != 0).sum(1) <= 2).all())
    assert not torch.equal(weight, before * (weight != 0))  # it was trained
    assert run.report.recovered is not None
    assert run.report.recovered.last_loss < run.report.recovered.first_loss


def test_weights_stay_where_training_brings_nothing() -> None:
    """A layer whose inputs are all zero has no gradient, so that no step changes the loss."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 32, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = self.layer(0 * x) + 1
            return made

    model = Constant()
    run = hwprune(model, torch.ones(2, 32), pattern="unstructured", calib=torch.ones(64, 32), recover=2, **NOT_MEASURED)
    weight = run.model.get_parameter("layer.weight")
    assert torch.equal(weight, model.layer.weight * (weight != 0))
    assert "so the weights stayed as they were" in {each.name: each.said for each in facts(run.report)}["recovered"]


class Classes(nn.Module):
    """Gives whole numbers, which no gradient reaches."""

    def __init__(self, *, scores: bool) -> None:
        super().__init__()
        self.layer, self.scores = nn.Linear(8, 8), scores

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            made = self.layer(x)
        return made if self.scores else made.argmax(1)


ROWS = torch.randn(64, 8)
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a cell trains": ({"finetune": lambda _: None}, "the cell under %%hwprune .* trains the pruned copy already"),
    "a recipe": ({"recipe": "modifiers: []"}, "a recipe prunes by its own modifiers"),
    "the example alone": ({"calib": None}, "no calibration inputs to train on: on the example alone"),
    "few rows": ({"calib": ROWS[:63]}, "needs at least 64 rows of calibration inputs, and --calib gives 63 rows"),
    "no steps": ({"recover": 0}, "--recover is 0; give a whole number"),
    "steps and a half": ({"recover": 1.5}, r"--recover is 1\.5; give a whole number"),
    "whole numbers": ({"model": Classes(scores=False)}, "none of its outputs is a tensor of floating point"),
    "no gradient": ({"model": Classes(scores=True)}, "no gradient reaches its outputs"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_recovered_is_one_clear_paragraph(case: str) -> None:
    options, said = WRONG[case]
    given = {"model": nn.Linear(8, 8), "calib": ROWS, "recover": 5, "example": ROWS[:2], **options}
    if "recipe" not in options:
        given |= {"pattern": "unstructured"}
    with pytest.raises(InputError, match=said):
        hwprune(**given, **NOT_MEASURED)


def test_an_interrupt_ends_it_in_the_step_that_it_comes_in(task: Task) -> None:
    mark, told = fingerprint(task.net), []

    def press(phase: str, detail: str) -> None:
        if phase == "train" and "recovery" in detail:
            told.append(detail)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        task.run(pattern="channel", recover=1500, progress=press)
    assert len(told) == 1
    assert fingerprint(task.net) == mark
