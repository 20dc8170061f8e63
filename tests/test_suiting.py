"""The toolchain by what the model holds, and the line that fits where the pattern asked for fits nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune import hwprune
from jupyter_hwprune.choose.choice import Able, Choice, choose
from jupyter_hwprune.core.errors import PruneError
from jupyter_hwprune.core.example import Example
from jupyter_hwprune.core.options import magic_line
from jupyter_hwprune.notebook.asked import parse
from jupyter_hwprune.pruning.suiting import suited
from jupyter_hwprune.report import Evidence

IMAGE = torch.randn(2, 3, 16, 16)


def convolutional(classes: int = 10) -> nn.Sequential:
    body = (nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(64, classes))


def linear() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def for_model(choice: Choice, model: nn.Module, x: torch.Tensor) -> Choice:
    return suited(choice, model, Example.of(x))


def test_the_first_line_of_the_product_prunes_a_convolutional_network() -> None:
    run = hwprune(convolutional(), IMAGE, target="ampere")
    report = run.report
    assert report.request.toolchain == "tensorrt"
    assert report.request.dtype == "float16"
    assert {layer.name: layer.served_by for layer in report.layers} == {"2": ("tensorrt",), "5": ("tensorrt",)}
    assert all(layer.valid for layer in report.layers)
    weight = run.model.get_parameter("2.weight")
    assert int((weight.movedim(1, 3).reshape(-1, 4) != 0).sum(dim=1).max()) == 2
    assert report.verdict == "not measured"
    assert report.measurement.evidence.reason
    assert report.measurement.evidence.cure
    said = "cusparselt is preferred for ampere, but serves no layer of this model in 2:4: tensorrt is taken instead."
    assert any(each.startswith(said) for each in report.reasons)


def test_the_preferred_toolchain_stays_for_what_it_serves() -> None:
    choice = for_model(choose("ampere"), linear(), torch.randn(4, 64))
    assert choice.judge.toolchain == "cusparselt"  # TensorRT would also serve the ten outputs
    assert choice.dtype == "bfloat16"
    assert not any("instead" in each for each in choice.remarks)


def test_one_engine_that_runs_them_all_is_taken_over_one_that_serves_the_head_alone() -> None:
    choice = for_model(choose("ampere"), convolutional(classes=16), IMAGE)
    assert choice.judge.toolchain == "tensorrt"
    assert any("serves 0.039 % of the multiply-accumulates that tensorrt serves" in each for each in choice.remarks)
    report = hwprune(convolutional(classes=16), IMAGE, target="ampere").report
    assert {layer.name: layer.served_by for layer in report.layers} == {
        "2": ("tensorrt",),
        "5": ("cusparselt", "tensorrt"),
    }


def test_one_that_runs_here_stays_before_one_that_serves_more_and_is_not_here() -> None:
    choice = choose("ampere")
    other = next(iter(choice.others))
    runs = replace(choice, way="run", obstacle=None)
    assert for_model(runs, convolutional(classes=16), IMAGE).judge.toolchain == "cusparselt"
    none = for_model(runs, convolutional(), IMAGE)
    assert none.judge.toolchain == "tensorrt"
    assert (none.way, none.obstacle) == (other.way, other.obstacle)


def test_a_toolchain_that_was_passed_over_gets_its_own_remarks() -> None:
    choice = choose("ampere")
    other = Able(choice.others[0].judge, "compile", Evidence("unavailable", reason="no GPU"), ("its own remark",))
    taken = for_model(replace(choice, others=(other,), remarks=("of the first",)), convolutional(), IMAGE)
    assert taken.remarks[0] == "its own remark"
    assert "of the first" not in taken.remarks
    assert taken.way == "compile"


@pytest.mark.parametrize("named", [{"target": "ampere:cusparselt"}, {"target": "ampere", "toolchain": "cusparselt"}])
def test_a_toolchain_that_the_user_named_stays(named: dict[str, Any]) -> None:
    choice = choose(**named)
    assert choice.others == ()
    with pytest.raises(PruneError, match="tensorrt may serve it"):
        hwprune(convolutional(), IMAGE, **named)


def test_a_dtype_that_only_one_toolchain_runs_keeps_the_others_out() -> None:
    choice = choose("ampere", dtype="int8")
    assert [each.judge.toolchain for each in choice.with_each_toolchain()] == ["cusparselt"]
    assert for_model(choice, convolutional(), IMAGE).judge.toolchain == "cusparselt"


def test_other_patterns_keep_the_toolchain() -> None:
    choice = for_model(choose("ampere", pattern="channel/8"), convolutional(), IMAGE)
    assert choice.judge.toolchain == "cusparselt"


@pytest.mark.parametrize(
    ("model", "x", "options", "line"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 16, 3, groups=1), nn.ReLU(), nn.Conv2d(16, 2, 3)),
            IMAGE,
            {"target": "tpu-v4"},
            "%hwprune net --input x --target tpu-v4 --pattern channel/8",
        ),
        (
            nn.Sequential(nn.Linear(18, 26), nn.ReLU(), nn.Linear(26, 7)),
            torch.randn(2, 18),
            {"target": "ampere"},
            "%hwprune net --input x --target ampere --pattern channel/8",
        ),
        (
            nn.Sequential(nn.Linear(18, 6), nn.ReLU(), nn.Linear(6, 7)),
            torch.randn(2, 18),
            {"target": "ampere", "importance": "activation", "sparsity": 0.5, "threads": 1},
            "%hwprune net --input x --target ampere --pattern channel --sparsity 0.5",
        ),
        (
            nn.Sequential(nn.Linear(18, 7)),
            torch.randn(2, 18),
            {"target": "ampere", "dense": (), "importance": "activation"},
            "%hwprune net --input x --target ampere --pattern unstructured --importance activation",
        ),
        (
            nn.Sequential(nn.Linear(18, 6), nn.ReLU(), nn.Linear(6, 7)),
            torch.randn(2, 18),
            {"target": "intel-cpu", "batch": 4},
            "%hwprune net --input x --target intel-cpu --pattern channel --batch 4",
        ),
    ],
)
def test_where_nothing_fits_the_error_ends_with_a_line_that_does(
    model: nn.Module, x: torch.Tensor, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(PruneError) as refused:
        hwprune(model, x, **options, name="net", input_name="x")
    assert type(refused.value) is PruneError
    said, _, given = str(refused.value).rpartition(" This line fits: ")
    assert said.startswith(("No layer of this model fits", "No channel of this model can be removed"))
    assert given == line
    assert " ".join(refused.value._render_traceback_()).endswith(line)  # no word of it is broken
    parsed = parse(given.removeprefix("%hwprune "))
    assert parsed is not None
    assert magic_line({"model": "net", **vars(parsed)}) == line


def test_the_line_that_is_given_prunes() -> None:
    model = nn.Sequential(nn.Linear(18, 26), nn.ReLU(), nn.Linear(26, 7))
    report = hwprune(model, torch.randn(2, 18), target="ampere", pattern="channel/8").report
    assert [layer.pruned_shape for layer in report.layers] == [(16, 18), (7, 16)]


def test_with_a_cell_the_line_is_a_cells() -> None:
    model = nn.Sequential(nn.Linear(18, 26), nn.ReLU(), nn.Linear(26, 7))
    options: dict[str, Any] = {"finetune": lambda _: None, "schedule": "cubic", "steps": 2}
    with pytest.raises(PruneError, match=r"This line fits: %%hwprune net --target ampere --pattern channel/8 "):
        hwprune(model, torch.randn(2, 18), target="ampere", name="net", **options)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = x + self.inner(x)
        return added


def blocks(count: int) -> nn.Sequential:
    return nn.Sequential(*(Residual() for _ in range(count)), nn.Linear(16, 8))


@pytest.mark.parametrize(
    ("model", "options", "line"),
    [
        (linear(), {"pattern": "depth"}, "--pattern channel/8"),
        (blocks(1), {"pattern": "depth", "sparsity": 0.5}, "--pattern channel/8 --sparsity 0.5"),
        (blocks(4), {"pattern": "depth", "sparsity": 0.1}, "--pattern depth --sparsity 0.25"),
        (nn.Sequential(nn.Linear(18, 7)), {"pattern": "2:4", "permute": True}, "--pattern unstructured"),
        (nn.Sequential(nn.Linear(18, 7)), {"pattern": "16x16", "speedup": 2.0}, "--pattern unstructured --speedup 2"),
    ],
)
def test_every_way_in_which_nothing_fits_ends_with_a_line_that_does(
    model: nn.Sequential, options: dict[str, Any], line: str
) -> None:
    x = torch.randn(2, 64 if isinstance(model[0], nn.Linear) and model[0].in_features == 64 else 18)
    x = torch.randn(2, 16) if isinstance(model[0], Residual) else x
    with pytest.raises(PruneError) as refused:
        hwprune(model, x, target="cpu", **options, name="net", input_name="x")
    assert refused.value.line == f"%hwprune net --input x {line}"
    assert str(refused.value).endswith(refused.value.line)
    assert refused.value._render_traceback_()[-1] == refused.value.line
