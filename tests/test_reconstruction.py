"""Channels removed by second order: the layers that read them make up for them."""

from __future__ import annotations

import copy
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.core.errors import InputError, PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.pattern import Channel
from jupyter_hwprune.pruning import method
from jupyter_hwprune.pruning.calibration import Calibration
from jupyter_hwprune.pruning.channels import BY_DEFAULT, FELL_BACK, Channels, remove_channels
from jupyter_hwprune.pruning.equivalence import TOLERANCE, relative_difference
from jupyter_hwprune.pruning.graph.trace import tensors_of_model
from jupyter_hwprune.pruning.method import Method
from jupyter_hwprune.pruning.planning import plan_channels, scan_channels
from jupyter_hwprune.pruning.reconstruction import Reconstruction
from jupyter_hwprune.pruning.refitting import refitted
from jupyter_hwprune.report import words
from tests.architectures import ARCHITECTURES
from tests.conftest import fingerprint
from tests.networks import ZOO, Residual, conv, images, trained_on_digits

UNMEASURED: dict[str, Any] = {"target": "tpu-v5e", "toolchain": "xla"}  # nothing to wait for: pruning is tested
HALF: dict[str, Any] = {"pattern": "channel", "sparsity": 0.5, "importance": "second-order", **UNMEASURED}


def said(run: Run) -> str:
    [reason] = [each for each in run.report.reasons if "lost inputs" in each]
    return reason


def test_a_layer_becomes_the_least_squares_of_the_inputs_that_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).eval()
    x = torch.randn(800, 6)
    run = hwprune(model, x[:2], calib=x, **HALF)
    with torch.no_grad():
        hidden = torch.cat([run.model[:2](x), torch.ones(800, 1)], 1).double()  # type: ignore[index]
        wanted, got = model(x).double(), run.model(x).double()
    best = hidden @ torch.linalg.lstsq(hidden, wanted).solution
    least, ours = ((each - wanted).square().sum() for each in (best, got))
    assert least > 1e-3 * wanted.square().sum()  # so that there is something to be best at
    assert ours < 1.001 * least
    assert said(run).startswith("Refitted by least squares: 1 of 1 layer that lost inputs, among them 2.")


class Mixed(nn.Module):
    """Sixteen channels made of eight: mixtures where nothing bends them, copies of another size before a ReLU."""

    def __init__(self, *, bent: bool) -> None:
        super().__init__()
        self.inner, self.outer = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 5, 3, padding=1)
        self.bend = nn.ReLU() if bent else nn.Identity()
        mix = torch.rand(8, 1) * torch.eye(8) + 0.5 * torch.eye(8) if bent else torch.randn(8, 8)
        with torch.no_grad():
            for own in (self.inner.weight, self.inner.bias):
                assert own is not None
                own[8:] = torch.einsum("kc,c...->k...", mix, own[:8])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.outer(self.bend(self.inner(x)))
        return y


@pytest.mark.parametrize("bent", [True, False])
def test_channels_that_others_can_say_go_without_a_trace(*, bent: bool) -> None:
    torch.manual_seed(1)
    model, x, fresh = Mixed(bent=bent).eval(), images().repeat(8, 1, 1, 1), images()
    x = x + torch.randn_like(x)
    before = fingerprint(model)
    run = hwprune(model, x[:2], calib=[x[:8], x[8:]], **HALF)
    plain = hwprune(model, x[:2], **HALF | {"importance": "magnitude"})
    with torch.no_grad():
        wanted, got, cut = model(fresh), run.model(fresh), plain.model(fresh)
    assert run.model.get_parameter("inner.weight").shape[0] == 8
    assert relative_difference([got], [wanted]) < 1e-4
    assert relative_difference([cut], [wanted]) > 0.1
    assert fingerprint(model) == before


class Digits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = conv(1, 16), nn.Sequential(conv(16, 24), conv(24, 16))
        self.depthwise, self.wide, self.head = conv(16, 16, 3, 2, 16), conv(16, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.head(self.wide(self.depthwise(x + self.body(x))).mean((2, 3)))
        return y


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    return trained_on_digits(Digits)


def test_the_magic_keeps_a_score_that_magnitude_loses(trained: tuple[nn.Module, Tensor, Tensor], shell: Any) -> None:
    net, x, y = trained

    def accuracy(own: nn.Module) -> float:
        with torch.no_grad():
            return float((own(x[600:]).argmax(1) == y[600:]).float().mean())

    shell.push({"net": net, "x": x[:2], "loader": [x[:64], x[64:128]], "accuracy": accuracy})
    line = "%hwprune net --input x --pattern channel/8 --sparsity 0.5 --target tpu-v5e --toolchain xla --eval accuracy"
    for name, ranked in {"plain": "--importance magnitude", "mended": "--importance second-order", "again": ""}.items():
        shell.run_cell(f"{name} = {line} --calib loader {ranked}").raise_error()
    plain, mended, again = (shell.user_ns[name] for name in ("plain", "mended", "again"))
    assert mended.report.scores.pruned > mended.report.scores.dense - 0.1
    assert mended.report.scores.pruned > plain.report.scores.pruned + 0.2
    assert fingerprint(mended.model) == fingerprint(again.model)
    assert "Refitted by least squares: 4 of 4 layers that lost inputs" in said(mended)
    assert [BY_DEFAULT in each.report.reasons for each in (plain, mended, again)] == [False, False, True]
    assert "--importance second-order" in words.line(again.report)  # also where the default is another one some day
    assert "--importance magnitude" in words.line(plain.report)


def test_magnitude_ranks_by_default_what_second_order_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).eval()
    with torch.no_grad():  # products of such inputs are infinite
        for layer, scale in ((model[0], 1e25), (model[2], 1e-25)):
            for parameter in layer.parameters():
                parameter.mul_(scale)
    x = torch.randn(64, 16)
    own = HALF | {"importance": "auto", "calib": x}
    monkeypatch.setattr(method, "SECONDS", 64 * 808)
    for error, why in (
        (None, "could be solved on these inputs"),
        (PruneError("It cannot be solved."), "cannot be solved"),
    ):
        if error is not None:
            monkeypatch.setattr(Reconstruction, "scores", Mock(side_effect=error))
        fell_back = hwprune(model, x[:2], **own)
        [said] = [each for each in fell_back.report.reasons if each.startswith(FELL_BACK)]
        assert why in said
        assert fell_back.report.request.importance == "magnitude"
    with pytest.raises(PruneError, match="It cannot be solved"):
        hwprune(model, x[:2], **own | {"importance": "second-order"})
    monkeypatch.setattr(method, "SECONDS", 64 * 808 - 1)
    reasons = hwprune(model, x[:2], **own).report.reasons
    assert any("may take minutes for 64 rows and 808 weights" in each for each in reasons)


def test_a_second_step_takes_more_of_what_the_first_left(trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, _ = trained
    widths: list[int] = []

    def note(own: nn.Module) -> None:
        widths.append(own.get_parameter("wide.0.weight").shape[0])

    own = {"pattern": "channel/8", "finetune": note, "schedule": "iterative", "steps": 2}
    hwprune(net, x[:2], calib=x[:128], **HALF | own)
    assert widths == [24, 16]


def test_a_scan_sees_what_the_others_make_up_for(trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    net, x, _ = trained
    data = Calibration((Example.of(x[:128]),), None)
    plain, mended = (
        Channels.by(Method(importance, calibration=data), net, Example.of(x[:2]))
        for importance in ("magnitude", "second-order")
    )
    before = copy.deepcopy(net.state_dict())
    scans = [
        scan_channels(own, {each.name: each for each in own.coupled.sets}, data.batches) for own in (plain, mended)
    ]
    for without, made_up in zip(*(own.curves for own in scans), strict=True):
        assert made_up.points[1].error is not None
        assert without.points[1].error is not None
        assert made_up.points[1].error < 0.5 * without.points[1].error
    assert all(torch.equal(before[name], own) for name, own in net.state_dict().items())


@pytest.mark.parametrize("kind", ["concat", "mobile", "unet", "transformer_fixed_heads", "torch_encoder", "gated"])
def test_every_kind_of_network_is_cut_as_is_proven_and_is_nearer_than_by_magnitude(kind: str) -> None:
    torch.manual_seed(0)
    make, inputs = ZOO[kind]
    model = make().eval()
    calib = [inputs() for _ in range(16)]
    torch.optim.swa_utils.update_bn(calib, model)
    model.eval()
    options = HALF | {"sparsity": 0.4, "keep_statistics": True}
    plain = hwprune(model, calib[0], **options | {"importance": "magnitude"})
    run = hwprune(model, calib[0], calib=calib, **options)
    data = Example.of(inputs())
    wanted, got, cut = (data.outputs(own) for own in (model, run.model, plain.model))
    ours, theirs = (
        sum(float((a - b).square().sum() / b.square().sum()) for a, b in zip(each, wanted, strict=True))
        for each in (got, cut)
    )
    assert ours < theirs
    assert "Refitted by least squares" in said(run)


def test_the_cut_computes_what_the_masked_dense_model_does_with_the_weights_that_were_refitted() -> None:
    torch.manual_seed(0)
    model, data = Residual().eval(), Calibration((Example.of(images()),), None)
    channels = Channels.by(Method("second-order", calibration=data), model, Example.of(images()))
    surgery = remove_channels(channels, plan_channels(channels, Channel(), 0.5))
    done = refitted(channels, surgery)
    before, after = (tensors_of_model(each.model) for each in (surgery, done))
    whole = {name: own.detach().clone() for name, own in tensors_of_model(model).items()}
    for name, keep in done.keep.items():
        whole[name] = torch.zeros_like(whole[name]).masked_scatter(keep, after[name].detach())
    whole["head.bias"] = after["head.bias"]
    masked = copy.deepcopy(model)
    masked.load_state_dict(whole)
    with torch.no_grad():
        assert relative_difference([done.model(x := images())], [masked(x)]) < TOLERANCE
    assert {name for name in after if not torch.equal(before[name], after[name])} >= {"body.0.0.weight", "head.weight"}
    assert any(each.startswith("Refitted") for each in done.remarks)


@pytest.mark.parametrize("scale", [0.0, 1e5])
def test_inputs_that_say_nothing_or_far_too_much_of_one_thing_are_no_reason_to_fail(scale: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(8, 32, bias=False), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
    ).eval()
    x = torch.ones(64, 8) * scale + torch.randn(64, 8) * (scale > 0)
    run = hwprune(model, x[:2], calib=x, **HALF)
    with torch.no_grad():
        assert bool(run.model(x).isfinite().all())
    assert "2 layers that lost inputs" in said(run)


def test_a_packed_sequence_on_the_way_is_no_obstacle_for_weights_or_channels() -> None:
    torch.manual_seed(0)
    entry = ARCHITECTURES["lstm_packed"]
    model, inputs = entry.build().eval(), entry.example()
    run = hwprune(model, inputs, **HALF)
    assert "Refitted by least squares: 2 of 6 layers" in said(run)
    assert "lstm.weight_ih_l0: no module takes its input as its own" in said(run)
    assert hwprune(model, inputs, **HALF | {"pattern": "unstructured"}).report.layers


def test_ranking_all_sets_together_is_refused_with_what_to_use() -> None:
    with pytest.raises(InputError, match="Use --allocation sensitivity, or --importance taylor"):
        hwprune(Residual(), images(), allocation="global", **HALF)
