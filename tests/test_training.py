"""Training along: schedules, weights that stay removed whatever steps on them, and a user's model that stays theirs."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from jupyter_hwprune import Report, Run, hwprune
from jupyter_hwprune.choose.choice import choose
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import NM, Channel
from jupyter_hwprune.measure.rating import Settled, keep_trained, served
from jupyter_hwprune.pruning import plan_and_prune, restore
from jupyter_hwprune.pruning.training.holding import held
from jupyter_hwprune.pruning.training.schedule import Stage, sparsities, stages
from jupyter_hwprune.report import NOT_COMPARED, Returned, Scores
from tests.conftest import fingerprint
from tests.networks import ZOO, Transformer, cnn

NOT_MEASURED = "tpu-v5e"  # nobody measures it here, so that only the pruning takes time


@pytest.fixture(autouse=True)
def _no_hook_stays() -> Iterator[None]:
    yield
    assert not _global_optimizer_pre_hooks
    assert not _global_optimizer_post_hooks


# --- schedules ---


def test_schedules_grow_to_the_share_asked_for() -> None:
    assert sparsities("one-shot", 0.9, 1) == (0.9,)
    assert sparsities("iterative", 0.9, 3) == pytest.approx((0.3, 0.6, 0.9))
    assert sparsities("cubic", 0.8, 4) == pytest.approx((0.4625, 0.7, 0.7875, 0.8))  # 0.8 (1 - (1 - t/4)^3)
    for schedule in ("iterative", "cubic"):
        assert sparsities(schedule, 0.7, 1) == (0.7,)
        assert sparsities(schedule, 0.7, 50)[-1] == 0.7


def test_of_n_m_the_n_falls_by_the_schedule() -> None:
    assert stages("iterative", NM(2, 4), 0.5, 3) == (Stage(NM(3, 4), 0.25), Stage(NM(3, 4), 0.25), Stage(NM(2, 4), 0.5))
    assert [stage.pattern for stage in stages("cubic", NM(1, 8), 7 / 8, 4)] == [NM(4, 8), NM(2, 8), NM(1, 8), NM(1, 8)]
    assert stages("cubic", Channel(8), 0.5, 2) == (Stage(Channel(8), 0.4375), Stage(Channel(8), 0.5))


# --- masks that hold ---


def model_and_masks() -> tuple[nn.Sequential, dict[str, Tensor]]:
    """A small network, and masks of which it holds the zeros already."""
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    keep = {name: torch.rand(model.get_parameter(name).shape) > 0.5 for name in ("0.weight", "2.weight")}
    zero(model, keep)
    return model, keep


def zero(model: nn.Module, keep: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, mask in keep.items():
            model.get_parameter(name).masked_fill_(~mask, 0)


def descend(model: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]


OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "SGD with momentum and decay": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "Adam": lambda p: Adam(p, 0.05, weight_decay=0.1, foreach=True),
    "AdamW, fused": lambda p: AdamW(p, 0.05, amsgrad=True, fused=True),
    "LBFGS": lambda p: LBFGS(p, 0.5, max_iter=6, line_search_fn="strong_wolfe"),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_zeros_hold_at_every_step_and_the_others_train(kind: str) -> None:
    model, keep = model_and_masks()
    x, y = torch.randn(64, 16), torch.randn(64, 4)
    before = functional.mse_loss(model(x), y).item()
    seen = []
    with held(model, keep):
        optimizer = OPTIMIZERS[kind](model.parameters())
        hook = model.register_forward_pre_hook(
            lambda *_: seen.append([bool(model.get_parameter(name)[~mask].any()) for name, mask in keep.items()])
        )
        for _ in range(5):
            descend(model, optimizer, x, y)
            for name, mask in keep.items():
                weight = model.get_parameter(name)
                assert not weight[~mask].any()
                assert not torch.signbit(weight[~mask]).any()
                assert weight[mask].all()
        hook.remove()
    assert seen
    assert not any(map(any, seen))  # a search along the gradient never saw another model either
    assert functional.mse_loss(model(x), y).item() < 0.95 * before


@pytest.mark.parametrize("kind", ["SGD with momentum and decay", "Adam", "AdamW, fused"])
def test_what_an_optimiser_remembers_of_removed_weights_is_forgotten(kind: str) -> None:
    model, keep = model_and_masks()
    model.load_state_dict(nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)).state_dict())
    optimizer = OPTIMIZERS[kind](model.parameters())
    x, y = torch.randn(64, 16), torch.randn(64, 4)
    descend(model, optimizer, x, y)
    zero(model, keep)
    with held(model, keep):
        descend(model, optimizer, x, y)
        for name, mask in keep.items():
            weight = model.get_parameter(name)
            remembered = [v for v in optimizer.state[weight].values() if isinstance(v, Tensor) and v.ndim]
            assert remembered
            assert not any(value[~mask].any() for value in remembered)
            assert all(value[mask].any() for value in remembered)


def test_zeros_hold_with_a_gradient_scaler_and_under_bfloat16() -> None:
    model, keep = model_and_masks()
    scaler = torch.amp.GradScaler("cpu")
    with held(model, keep):
        optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(torch.randn(8, 16)).square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            assert not any(model.get_parameter(name)[~mask].any() for name, mask in keep.items())


def test_weights_changed_by_hand_are_zero_again_at_the_end_and_no_hook_is_left() -> None:
    model, keep = model_and_masks()
    with held(model, keep), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(float("nan"))
    assert not any(model.get_parameter(name)[~mask].any() for name, mask in keep.items())
    model.zero_grad()
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
        assert not parameter._backward_hooks
    descend(model, SGD(model.parameters(), 0.1, weight_decay=1.0), torch.randn(8, 16), torch.randn(8, 4))
    assert all(bool(parameter.any()) for parameter in model.parameters())


def test_another_model_trains_as_ever_meanwhile() -> None:
    model, keep = model_and_masks()
    other = copy.deepcopy(model)
    with held(model, keep):
        descend(other, SGD(other.parameters(), 0.1), torch.randn(8, 16), torch.randn(8, 4))
    assert other.get_parameter("0.weight")[~keep["0.weight"]].any()


def test_a_tied_weight_is_held_by_either_of_its_names() -> None:
    model = Transformer(tied=True)
    keep = {name: torch.rand(50, 32) > 0.3 for name in ("tokens.weight", "head.weight")}
    both = keep["tokens.weight"] & keep["head.weight"]
    with held(model, keep):
        optimizer = Adam(model.parameters(), 0.01)
        model(torch.randint(0, 50, (2, 6))).square().mean().backward()
        optimizer.step()
        assert not model.get_parameter("head.weight")[~both].any()
    assert model.get_parameter("head.weight") is model.get_parameter("tokens.weight")
    assert model.get_parameter("head.weight")[both].any()


# --- pruning in steps ---


class Trainer:
    """A user's fine-tune step that keeps what it was given at the end of each call."""

    def __init__(self, example: Tensor, *, training: bool = True) -> None:
        self.example, self.training = example, training
        self.seen: list[nn.Module] = []

    def __call__(self, model: nn.Module) -> str:
        assert all(module.training == self.training for module in model.modules())
        optimizer = SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            outputs = model(self.example)
            sum(t.square().mean() for t in (outputs.values() if isinstance(outputs, dict) else [outputs])).backward()
            optimizer.step()
            self.seen.append(copy.deepcopy(model))
        return "looked at by nobody"


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))


def trained(model: nn.Module, trainer: Any, example: Tensor, **options: Any) -> Run:
    return hwprune(model, example, **{"target": NOT_MEASURED, "finetune": trainer, **options})


def zeros(model: nn.Module, name: str = "2.weight") -> Tensor:
    return model.get_parameter(name) == 0


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize(("pattern", "sparsity"), [("unstructured", 0.9), ("2:4", None), ("8x8", 0.5)])
def test_zeros_grow_by_the_schedule_and_none_comes_back(pattern: str, sparsity: float | None, allocation: str) -> None:
    model, x = mlp(), torch.randn(8, 32)
    mark = fingerprint(model)
    trainer = Trainer(x)
    options = {"pattern": pattern, "sparsity": sparsity, "allocation": allocation}
    run = trained(model, trainer, x, schedule="cubic", steps=3, **options)
    assert fingerprint(model) == mark
    assert len(trainer.seen) == 6
    share = [
        float(torch.cat([zeros(seen, n).flatten() for n in ("0.weight", "2.weight", "4.weight")]).float().mean())
        for seen in trainer.seen
    ]
    expected = {"unstructured": (0.633, 0.867, 0.9), "2:4": (0.25, 0.5, 0.5), "8x8": (0.35, 0.48, 0.5)}[pattern]
    assert share == pytest.approx([s for s in expected for _ in range(2)], abs=0.02)
    for before, after in zip(trainer.seen, trainer.seen[1:], strict=False):
        assert all(bool(zeros(after, name)[zeros(before, name)].all()) for name in ("0.weight", "2.weight", "4.weight"))
    assert torch.equal(run.model.get_parameter("2.weight"), trainer.seen[-1].get_parameter("2.weight"))
    assert run.report.request.schedule == "cubic"
    assert run.report.request.steps == 3
    assert "after each of 3 steps, cubic" in str(run)
    assert all(layer.valid for layer in run.report.layers)
    assert {layer.name: layer.sparsity for layer in run.report.layers} == pytest.approx(
        {each.name: float(zeros(run.model, f"{each.name}.weight").float().mean()) for each in run.report.layers},
        abs=1e-6,
    )
    left = sum(int(p.count_nonzero()) for p in run.model.parameters())
    assert run.report.totals.pruned_weights == left


def test_the_finished_model_is_plain_and_nobody_elses() -> None:
    model, x = mlp(), torch.randn(8, 32)
    model.get_parameter("0.bias").requires_grad = False
    trainer = Trainer(x)
    bound: list[nn.Module] = []

    def finetune(own: nn.Module) -> None:
        trainer(own)
        bound.append(own)

    run = trained(model, finetune, x, pattern="2:4")
    assert list(run.model.state_dict()) == list(model.state_dict())
    assert [type(module) for module in run.model.modules()] == [type(module) for module in model.modules()]
    for name, parameter in run.model.named_parameters():
        assert type(parameter) is nn.Parameter
        assert not parameter._backward_hooks
        assert parameter.grad is None
        assert parameter.requires_grad == model.get_parameter(name).requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in run.model.modules())
    before = run.model.get_parameter("0.weight").clone()
    with torch.no_grad():
        bound[0].get_parameter("0.weight").zero_()
    assert torch.equal(run.model.get_parameter("0.weight"), before)


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("name", ["cnn", "residual", "transformer_fixed_heads", "transformer_tied", "gated"])
def test_channels_shrink_by_the_schedule_in_shares_of_the_dense_model(name: str, allocation: str) -> None:
    build, inputs = ZOO[name]
    model, x = build().eval(), inputs()
    mark = fingerprint(model)
    trainer = Trainer(x, training=False)
    options = {"pattern": "channel", "sparsity": 0.5, "schedule": "iterative", "steps": 2, "allocation": allocation}
    run = trained(model, trainer, x, **options)
    assert fingerprint(model) == mark
    first, last = ([tuple(p.shape) for p in seen.parameters()] for seen in (trainer.seen[0], trainer.seen[-1]))
    dense = [tuple(p.shape) for p in model.parameters()]
    assert all(
        d >= f >= t for ds, fs, ts in zip(dense, first, last, strict=True) for d, f, t in zip(ds, fs, ts, strict=True)
    )
    assert dense != first != last
    assert [tuple(p.shape) for p in run.model.parameters()] == last
    for layer in run.report.layers:
        assert layer.shape == tuple(model.get_parameter(f"{layer.name}.weight").shape)
        assert layer.pruned_shape == tuple(run.model.get_parameter(f"{layer.name}.weight").shape)
    assert run.report.totals.pruned_weights == sum(p.numel() for p in run.model.parameters())
    at_once = hwprune(model, x, target=NOT_MEASURED, pattern="channel", sparsity=0.5, allocation=allocation)
    if allocation == "uniform":
        assert last == [tuple(p.shape) for p in at_once.model.parameters()]
    expected, got = trainer.seen[-1](x), run.model(x)
    assert torch.equal(got, expected)


def test_a_channel_once_removed_stays_removed() -> None:
    """Each weight's own column tells which channels are left, for nothing trains it away."""
    model = nn.Sequential(nn.Linear(4, 16), nn.Linear(16, 4))
    numbers = torch.arange(16.0)
    with torch.no_grad():
        model.get_parameter("0.bias").copy_(numbers)
    left: list[set[float]] = []

    def finetune(own: nn.Module) -> None:
        left.append(set(own.get_parameter("0.bias").tolist()))
        with torch.no_grad():  # what is left weighs least now, and the others would come back
            own.get_parameter("0.weight").mul_(1e-6)
            own.get_parameter("1.weight").mul_(1e-6)

    trained(model, finetune, torch.randn(2, 4), pattern="channel", sparsity=0.75, schedule="iterative", steps=3)
    assert [len(channels) for channels in left] == [12, 8, 4]
    assert left[0] > left[1] > left[2]


def test_weights_that_are_zero_by_chance_are_no_removed_ones() -> None:
    model, x = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()), torch.randn(64, 32)
    nn.init.zeros_(model.get_parameter("2.weight"))

    def finetune(own: nn.Module) -> None:
        optimizer = Adam(own.parameters(), 0.01)
        for _ in range(3):
            descend(own, optimizer, x, torch.ones(64, 64))

    run = trained(model, finetune, x, pattern="2:4", schedule="iterative", steps=2)
    assert zeros(run.model).float().mean() == 0.5
    assert all(layer.valid for layer in run.report.layers)


def test_a_first_share_of_no_whole_channel_is_passed_over() -> None:
    model, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(2, 8)
    trainer = Trainer(x)
    run = trained(model, trainer, x, pattern="channel/8", sparsity=0.5, schedule="iterative", steps=5)
    assert run.report.layers[0].pruned_shape == (8, 8)
    assert len({tuple(seen.get_parameter("0.weight").shape) for seen in trainer.seen}) == 1


def test_layers_that_gain_nothing_keep_the_weights_they_were_trained_with() -> None:
    choice, dense, x = choose(NOT_MEASURED, pattern="2:4"), mlp(), Example.of(torch.randn(4, 32))
    pruned = plan_and_prune(dense, x, choice.pattern, choice.sparsity)
    toolchain = choice.judge.toolchain
    pruned = replace(pruned, layers=tuple(replace(each, served_by=(toolchain, "other")) for each in pruned.layers))
    loser = Returned(
        "2", "Linear", (64, 64), "its sparse kernel takes 1.40x the time of the dense one", 4, NOT_COMPARED
    )
    settled = keep_trained(Settled(restore(dense, pruned, [loser]), choice, plans={"0": {}}), pruned)
    assert settled.pruned.returned == ()
    assert settled.pruned.model is pruned.model
    assert settled.plans == {"0": {}}
    assert served(settled.pruned.layers, settled.choice) == ("0", "4")  # the loser gets a dense kernel
    assert "keep the zeros they were trained with" in settled.pruned.remarks[-1]
    assert "2: its sparse kernel takes 1.40x" in settled.pruned.remarks[-1]
    kept = Settled(pruned, choice)
    assert keep_trained(kept, pruned) is kept


# --- the user's own model, and steps that go wrong ---


def test_a_step_that_trains_the_users_own_model_is_stopped_and_all_given_back() -> None:
    model, x = cnn().train(), torch.randn(4, 3, 16, 16)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    mark, before = fingerprint(model), model.get_parameter("0.0.weight").clone()

    def finetune(_own: nn.Module) -> None:
        model(x).sum().backward()
        optimizer.step()

    with pytest.raises(InputError, match="trains net itself and not the pruned copy: the optimiser, SGD, holds"):
        trained(model, finetune, x, pattern="unstructured", name="net")
    assert fingerprint(model) == mark
    assert torch.equal(model.get_parameter("0.0.weight"), before)
    assert not optimizer.state


def test_an_error_that_the_users_loop_swallows_is_raised_at_its_end() -> None:
    model, x = mlp(), torch.randn(4, 32)
    mark = fingerprint(model)

    def finetune(_own: nn.Module) -> None:
        try:
            SGD(model.parameters(), 0.1).step()
        except InputError:
            model.eval()

    with pytest.raises(InputError, match="trains model itself"):
        trained(model, finetune, x, pattern="unstructured")
    assert fingerprint(model) == mark


def test_a_users_own_model_changed_by_hand_is_given_back() -> None:
    model, x = mlp(), torch.randn(4, 32)
    mark = fingerprint(model)

    def finetune(_own: nn.Module) -> None:
        with torch.no_grad():
            model.get_parameter("2.weight").mul_(-1.0)

    with pytest.raises(InputError, match=r"it changed 2\.weight"):
        trained(model, finetune, x, pattern="unstructured")
    assert fingerprint(model) == mark


def test_the_users_own_model_may_teach() -> None:
    """Distillation runs it in training mode, which moves its statistics, and leaves no trace all the same."""
    model, x = cnn().train(), torch.randn(4, 3, 16, 16)
    mark = fingerprint(model)

    def finetune(own: nn.Module) -> None:
        optimizer = SGD(own.parameters(), 0.1)
        functional.mse_loss(own(x), model(x)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    run = trained(model, finetune, x, pattern="unstructured")
    assert fingerprint(model) == mark
    assert not torch.equal(run.model.get_buffer("0.1.running_mean"), model.get_buffer("0.1.running_mean"))


class Counting(nn.Linear):
    """It counts its runs in a buffer, and binds its last input to another."""

    runs: Tensor

    def __init__(self) -> None:
        super().__init__(32, 64)
        self.register_buffer("runs", torch.tensor(0))
        self.register_buffer("last", torch.zeros(4, 32))

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        self.last = x.detach()
        return super().forward(x)


def test_buffers_of_the_users_own_model_are_theirs() -> None:
    model, x = nn.Sequential(Counting(), nn.Linear(64, 4)), torch.randn(4, 32)
    mark, last = fingerprint(model), model.get_buffer("0.last")
    trained(model, lambda _own: model(x), x, pattern="unstructured")
    assert fingerprint(model) == mark
    assert model.get_buffer("0.runs") == 0
    assert model.get_buffer("0.last") is last


def diverge(model: nn.Module) -> None:
    model.get_parameter("0.weight").data.fill_(float("inf"))


def swap_layer(model: nn.Module) -> None:
    model[0] = nn.Linear(32, 64, bias=False)  # type: ignore[operator]


def parametrize(model: nn.Module) -> None:
    nn.utils.parametrizations.weight_norm(model[0])  # type: ignore[index]


def stumble(model: nn.Module) -> None:
    raise LookupError("no such file")


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "diverges": ({"finetune": diverge}, InputError, "after fine-tune step 1, 0.weight holds NaN or infinite"),
    "other layer": ({"finetune": swap_layer}, InputError, r"changed the network's structure \(0\.bias\)"),
    "parametrized": ({"finetune": parametrize}, InputError, "changed the network's structure"),
    "raises": ({"finetune": stumble}, LookupError, "no such file"),
    "no function": ({"finetune": 3}, InputError, "finetune is a int"),
    "no such schedule": ({"schedule": "quartic"}, InputError, "no schedule 'quartic'"),
    "nothing trains": ({"finetune": None, "schedule": "cubic"}, InputError, "there is no fine-tune step"),
    "steps of one shot": ({"steps": 3}, InputError, "--steps is 3, but one-shot has one step"),
    "no steps": ({"schedule": "cubic", "steps": 0}, InputError, "--steps is 0"),
    "steps and a half": ({"schedule": "cubic", "steps": 1.5}, InputError, r"--steps is 1\.5"),
    "a recipe": ({"recipe": "modifiers: []", "pattern": None}, InputError, "takes no fine-tune step"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_goes_wrong_is_said_and_changes_nothing(case: str) -> None:
    options, kind, said = WRONG[case]
    model, x = mlp(), torch.randn(4, 32)
    mark = fingerprint(model)
    with pytest.raises(kind, match=said):
        trained(model, Trainer(x), x, **{"pattern": "unstructured", **options})
    assert fingerprint(model) == mark


def test_each_step_of_a_training_is_told_and_drawn_with_its_score() -> None:
    x, scores = torch.randn(4, 32), iter([1.0, 0.75, 0.5, 0.625])
    options: dict[str, Any] = {"pattern": "unstructured", "sparsity": 0.9, "schedule": "iterative", "steps": 3}
    run = trained(mlp(), Trainer(x), x, score=lambda _: next(scores), **options)
    steps = run.report.trained
    assert [each.share for each in steps] == pytest.approx([0.3, 0.6, 0.9])
    assert [each.score for each in steps] == [0.75, 0.5, 0.625]  # the last is the finished model's, taken once
    assert run.report.scores == Scores("<lambda>", 1.0, 0.625)
    assert all(each.seconds >= 0 for each in steps)
    assert Report.from_json(run.report.to_json()) == run.report
    rows = re.findall(r"^ +(dense|\d) +(\d+ %) .* ([\d.]+)$", str(run), re.MULTILINE)
    assert rows == [("dense", "0 %", "1"), ("1", "30 %", "0.75"), ("2", "60 %", "0.5"), ("3", "90 %", "0.625")]
    assert "Score after each step of the training" in run._repr_mimebundle_()["text/html"]
    unscored = trained(mlp(), Trainer(x), x, **options)
    assert [each.score for each in unscored.report.trained] == [None] * 3
    assert "Score after each step" not in unscored._repr_mimebundle_()["text/html"]


def test_a_score_that_fell_for_all_the_training_is_named() -> None:
    scores = iter([1.0, 0.2])
    x = torch.randn(4, 32)
    run = trained(mlp(), Trainer(x), x, pattern="unstructured", score=lambda _: next(scores))
    assert any("fell from 1 to 0.2, even after training" in each.what for each in run.report.mistakes)
