"""Named mistakes: each seeded one is found and explained, sound plans raise none, and the words are in every view."""

from __future__ import annotations

import copy
import html
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao.pruning.sparsifier.weight_norm_sparsifier import WeightNormSparsifier
from torch.nn.utils import prune

from jupyter_hwprune import Run, Shown, hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.core.target import TARGETS
from jupyter_hwprune.mistakes import lint, silenced
from jupyter_hwprune.mistakes.table import KINDS
from jupyter_hwprune.notebook.asked import parse
from jupyter_hwprune.report import (
    Arrived,
    Baseline,
    Comparison,
    Corner,
    Corners,
    Counters,
    Curve,
    Evidence,
    Layer,
    Point,
    Report,
    Scores,
    Sensitivity,
)
from jupyter_hwprune.report.merging import merge
from jupyter_hwprune.toolchains import Status, probe_all
from tests.reports import compiled, layer, report, timed
from tests.test_magics import cell

ROWS = {row.name: row for row in TARGETS}
FASTER = Comparison(2.0, 1.9, 2.1, 0.03, "faster")
SLOWER = Comparison(0.8, 0.75, 0.85, 0.03, "slower")
WITHIN = Comparison(1.01, 0.99, 1.02, 0.03, "no measurable gain")
MEASURED = Evidence("measured", device="a device")


@pytest.fixture(autouse=True, scope="module")
def _probed_once() -> Iterator[None]:
    """Ask each toolchain once in this file what it can do here: that takes longer than all the pruning."""
    known: dict[str, Status] = {}

    def probe_once(names: Iterable[str]) -> dict[str, Status]:
        asked = [*names]
        known.update(probe_all([name for name in asked if name not in known]))
        return {name: known[name] for name in asked}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jupyter_hwprune.choose.choice.probe_all", probe_once)
        yield


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512))


def convolutions(first: nn.Module | None = None) -> nn.Module:
    own = nn.Conv2d(3, 64, 3, padding=1) if first is None else first
    return nn.Sequential(own, nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1))


def plan(model: nn.Module, shape: tuple[int, ...], target: str, **options: Any) -> Report:
    """Prune for a chip that is not here: nothing is timed."""
    return hwprune(model, torch.randn(shape), target=target, name="net", **options).report


def with_masks() -> nn.Module:
    model = mlp()
    prune.l1_unstructured(model[0], "weight", amount=0.5)  # type: ignore[index, no-untyped-call]
    return model


def with_parametrized_masks() -> nn.Module:
    model = mlp()
    sparsifier = WeightNormSparsifier(sparsity_level=0.5)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])  # type: ignore[no-untyped-call]
    sparsifier.step()
    return model


def along_the_outputs() -> nn.Module:
    model = mlp()
    weight = model.get_parameter("0.weight").data
    weight[0::4], weight[1::4] = 0, 0
    return model


def fine(target: str = "x86-cpu", toolchain: str = "onnxruntime", pattern: str = "channel/8", **changes: Any) -> Report:
    """Return a timed report without a mistake, of layers with half of their channels."""
    plain = report((_cut("a", 64, 32), _cut("b", 64, 32)))
    request = replace(plain.request, target=target, toolchain=toolchain, pattern=pattern)
    own: dict[str, Any] = {"scores": Scores("accuracy", 0.9, 0.89), "request": request, "chip": ROWS[target].chip}
    return replace(plain, **own | changes)


def _cut(name: str, outputs: int, left: int, **changes: Any) -> Layer:
    whole = layer(name, outputs, 64)
    return replace(whole, pruned_shape=(left, 64), pattern="channel/8", used=True, **changes)


def _sparse(name: str, *, used: bool | None = True, **changes: Any) -> Layer:
    return replace(layer(name, 512, 512), used=used, macs=512 * 512 * 128, **changes)


def gpu(*layers: Layer, **changes: Any) -> Report:
    """Return a timed report of 2:4 on a GPU."""
    own = layers or (_sparse("a"), _sparse("b"))
    return fine("hopper", "cusparselt", "2:4", layers=own, **changes)


def zeros_on_deepsparse(*layers: Layer) -> Report:
    return fine("x86-cpu", "deepsparse", "unstructured", layers=layers)


def depthwise(name: str) -> Layer:
    return _sparse(name, used=False, kind="Conv2d", shape=(64, 1, 3, 3), pruned_shape=(64, 1, 3, 3), groups=64)


def timed_as(comparison: Comparison, of: Report) -> Report:
    return replace(of, measurement=replace(timed(of), comparison=comparison))


def against(toolchain: str, dense_ms: float, speed: Comparison, of: Report) -> Report:
    return replace(of, baselines=(Baseline(toolchain, MEASURED, None, None, dense_ms, speed),))


def four(int8: float, on_int8: Comparison) -> Report:
    bought = replace(FASTER, speedup=int8)
    rows = (
        Corner(pruned=False, dtype="float32", ms=2.0),
        Corner(pruned=True, dtype="float32", ms=1.0, speed=FASTER),
        Corner(pruned=False, dtype="int8", ms=2 / int8, speed=bought),
        Corner(pruned=True, dtype="int8", ms=1.9 / int8, speed=bought),
    )
    return fine(corners=Corners(MEASURED, rows, on_int8=on_int8), scores=None)


def scanned(*errors: float, share: float = 0.75) -> Report:
    shares = (0.25, 0.5, 0.75, 0.9)
    points = tuple(Point(sparsity, error) for sparsity, error in zip(shares, errors, strict=True))
    scan = Sensitivity("output error", (Curve("a", 4096, points),), rows=8)
    return fine(layers=(_cut("a", 64, 32, sparsity=share),), scores=None, sensitivity=scan)


NOISY = Comparison(1.05, 0.8, 1.3, 0.2, "no measurable gain")
ROW, FEW = (64, 512), (4, 512)
IMAGES = (1, 3, 16, 16)
SEEDED: dict[str, tuple[set[str], str, Callable[[], Report]]] = {
    "single weights on a GPU": (
        {"HWP101"},
        "cusparselt skips no single weights",
        lambda: plan(mlp(), ROW, "hopper", pattern="unstructured", sparsity=0.5),
    ),
    "single weights on a TPU": (
        {"HWP101"},
        "xla skips no single weights",
        lambda: plan(mlp(), ROW, "tpu-v5e", pattern="unstructured", sparsity=0.9),
    ),
    "2:4 on a TPU": ({"HWP102"}, "xla has no kernels for 2:4", lambda: plan(mlp(), ROW, "tpu-v5e", pattern="2:4")),
    "blocks on a GPU": (
        {"HWP102"},
        "no kernels for 16x16",
        lambda: plan(mlp(), ROW, "ampere", pattern="16x16", sparsity=0.5),
    ),
    "4:8 on a GPU": ({"HWP102"}, "no kernels for 4:8", lambda: plan(mlp(), ROW, "ada", pattern="4:8")),
    "2:4 along the outputs": (
        {"HWP103"},
        "2:4 along the outputs of 0, not along the inputs",
        lambda: plan(along_the_outputs(), ROW, "hopper"),
    ),
    "few rows": ({"HWP104"}, "fewer than 64 rows (batch times tokens, here 4)", lambda: plan(mlp(), FEW, "hopper")),
    "few input channels": (
        {"HWP104"},
        "it has 64 input channels",
        lambda: plan(convolutions(), IMAGES, "ampere:tensorrt", pattern="2:4"),
    ),
    "small blocks on a TPU": (
        {"HWP105"},
        "2 layers in blocks of 16x16: 0, 2",
        lambda: plan(mlp(), ROW, "tpu-v6e", pattern="16x16", sparsity=0.5),
    ),
    "odd channels": (
        {"HWP106"},
        "no multiple of 8: 0",
        lambda: plan(mlp(), ROW, "intel-npu", pattern="channel", sparsity=0.51),
    ),
    "channels in 8 where the chip pads to 32": (
        {"HWP106"},
        "no multiple of 32",
        lambda: plan(convolutions(), IMAGES, "qualcomm-npu", pattern="channel/8", sparsity=0.4),
    ),
    "a 3-D convolution on an Edge TPU": (
        {"HWP107"},
        "it is a Conv3d",
        lambda: plan(
            nn.Sequential(nn.Conv3d(3, 32, 3), nn.Conv3d(32, 32, 3)), (1, 3, 8, 8, 8), "edge-tpu", pattern="channel/8"
        ),
    ),
    "a large kernel on a DLA": (
        {"HWP107"},
        "its kernel is 41x41",
        lambda: plan(convolutions(nn.Conv2d(3, 64, 41, padding=20)), IMAGES, "jetson"),
    ),
    "depthwise layers": (
        {"HWP108"},
        "2 layers of 3, b, c, are depthwise",
        lambda: zeros_on_deepsparse(_sparse("a"), depthwise("b"), depthwise("c")),
    ),
    "masks in place": ({"HWP109"}, "multiplies 0.weight by masks", lambda: plan(with_masks(), ROW, "intel-npu")),
    "masks of a parametrization": (
        {"HWP109"},
        "multiplies 0.weight by masks",
        lambda: plan(with_parametrized_masks(), ROW, "intel-npu"),
    ),
    "zeros that dense kernels multiply": (
        {"HWP102", "HWP110"},
        "they multiply every zero",
        lambda: fine(pattern="2:4", layers=(_sparse("a", used=False), _sparse("b", used=False))),
    ),
    "a slower layer": (
        {"HWP111"},
        "1 layer slower after its channels went: b",
        lambda: fine(layers=(_cut("a", 64, 32), _cut("b", 64, 32, speed=SLOWER))),
    ),
    "a slower sparse kernel": ({"HWP111"}, "with the sparse kernel", lambda: gpu(_sparse("a", speed=SLOWER))),
    "a cliff": (
        {"HWP112"},
        "The score fell from 0.9 to 0.5, without training",
        lambda: fine(scores=Scores("accuracy", 0.9, 0.5)),
    ),
    "a knee": ({"HWP112"}, "a 75 %, knee at 50 %", lambda: scanned(0.01, 0.02, 0.9, 4.0)),
    "noise": ({"HWP113"}, "a gain of 15 % could have been missed", lambda: timed_as(NOISY, fine())),
    "a dense kernel": (
        {"HWP114"},
        "1 of 2 pruned layers: b with gemm",
        lambda: gpu(_sparse("a"), _sparse("b", used=False)),
    ),
    "a sparse name without a sparse operation": (
        {"HWP114"},
        "contradict the kernels' names in a",
        lambda: gpu(_sparse("a", counters=Counters(0.0, 9.0)), _sparse("b", counters=Counters(9.0, 0.0))),
    ),
    "a fallback": (
        {"HWP115"},
        "1 layer ran on the CPU and not on CPU: b",
        lambda: fine(layers=(_cut("a", 64, 32), _cut("b", 64, 32, ran_on="the CPU"))),
    ),
    "int8 buys more": ({"HWP116"}, "int8 alone buys 3.00x, this pruning alone 2.00x", lambda: four(3.0, WITHIN)),
    "another runtime buys more": (
        {"HWP116"},
        "The dense model takes 0.900 ms with openvino, the pruned one 1.00 ms",
        lambda: against("openvino", 0.9, SLOWER, zeros_on_deepsparse(_sparse("a"))),
    ),
    "another maker's chip": (
        {"HWP117"},
        "is not a chip by Intel",
        lambda: fine("intel-cpu", "openvino", identities=("x86_64 AMD", "x86_64")),
    ),
    "compiled, not timed": (
        {"HWP117"},
        "but not timed",
        lambda: compiled(fine("arm-cpu", "tvm")),
    ),
    "a slow baseline": (
        {"HWP118"},
        "dense with openvino takes 1.50 ms, and against that it is 2.00x",
        lambda: against("openvino", 1.5, FASTER, zeros_on_deepsparse(_sparse("a"))),
    ),
}
SOUND: dict[str, Callable[[], Report]] = {
    **{
        f"the default for {name}": lambda name=name: plan(mlp(), (64, 512), name)  # type: ignore[misc]
        for name, row in ROWS.items()
        if row.kind != "cpu"
    },
    "convolutions for a GPU": lambda: plan(convolutions(), IMAGES, "ampere:tensorrt", pattern="channel/8"),
    "convolutions for an NPU": lambda: plan(convolutions(), IMAGES, "qualcomm-npu"),
    "1:4 for a GPU": lambda: plan(mlp(), ROW, "hopper", pattern="1:4"),
    "blocks of two units": lambda: plan(mlp(), ROW, "tpu-v5e", pattern="256x128", sparsity=0.5),
    "whole channels, timed": fine,
    "2:4 in sparse kernels, timed": gpu,
    "single weights in their runtime": lambda: zeros_on_deepsparse(_sparse("a"), _sparse("b")),
    "no gain, and no noise": lambda: timed_as(WITHIN, fine()),
    "slower, and no noise": lambda: timed_as(SLOWER, fine()),
    "kernels not known": lambda: gpu(_sparse("a", used=None), _sparse("b", used=None)),
    "a fall without a cliff": lambda: fine(scores=Scores("loss", -1.0, -1.05)),
    "shares before the knee": lambda: scanned(0.01, 0.02, 0.9, 4.0, share=0.5),
    "no knee": lambda: scanned(0.01, 0.02, 0.03, 0.04),
    "a small error past the knee": lambda: scanned(0.001, 0.002, 0.04, 0.09),
    "pruning adds to int8": lambda: four(3.0, FASTER),
    "pruning buys more than int8": lambda: four(1.5, WITHIN),
    "the best baseline": lambda: against("openvino", 4.0, FASTER, zeros_on_deepsparse(_sparse("a"))),
    "the maker's own chip": lambda: fine("intel-cpu", "openvino", identities=("x86_64 Intel", "x86_64")),
    "zeros in the right direction on arrival": lambda: fine(arrived=Arrived()),
    "a chip that nobody knows": lambda: replace(
        gpu(_sparse("a", used=None)), request=replace(gpu().request, target="my.chip", toolchain="my.toolchain")
    ),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_mistake_is_found_and_explained(name: str) -> None:
    codes, said, build = SEEDED[name]
    made = build()
    found = lint(made)
    assert {each.code for each in found} == codes
    assert said in " ".join(each.what for each in found)
    for each in found:
        assert (each.title, each.severity) == (KINDS[each.code].title, KINDS[each.code].severity)
        assert all((text.endswith(".") and text[0].isupper()) or text[0].isalnum() for text in (each.what, each.why))
        assert len(each.fix) > 10
        names = {part.name for part in made.layers} | {part.name for part in made.skipped}
        assert {layer.removesuffix(".weight") for layer in each.layers} <= names
        if each.line is not None and each.line.startswith("%"):
            assert parse(each.line.removeprefix("%hwprune")) is not None


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_plan_raises_no_alarm(name: str) -> None:
    assert lint(SOUND[name]()) == ()


def test_each_code_has_a_seed() -> None:
    assert set().union(*(codes for codes, _, _ in SEEDED.values())) == set(KINDS)
    assert len(SEEDED) >= 20 <= len(SOUND)


def test_a_line_to_copy_mends_the_mistake() -> None:
    first = plan(mlp(), ROW, "tpu-v6e", pattern="16x16", sparsity=0.5)
    [mistake] = first.mistakes
    assert mistake.line is not None
    assert "--pattern 256x256" in mistake.line
    assert plan(mlp(), ROW, "tpu-v6e", pattern="256x256").mistakes == ()


def test_the_run_itself_holds_them_and_a_saved_report_gives_the_same_again() -> None:
    own = plan(with_masks(), ROW, "hopper", pattern="unstructured", sparsity=0.5)
    assert [each.code for each in own.mistakes] == ["HWP101", "HWP109"]  # the worst first
    again = Report.from_json(own.to_json())
    assert again == own
    assert lint(replace(again, mistakes=())) == own.mistakes
    older = {name: value for name, value in json.loads(own.to_json()).items() if name not in {"mistakes", "arrived"}}
    assert Report.from_json(json.dumps(older)).mistakes == ()


def test_a_code_silences_its_mistake_for_good_and_an_unknown_one_is_refused() -> None:
    own = plan(with_masks(), ROW, "hopper", pattern="unstructured", sparsity=0.5, ignore=["HWP101"])
    assert [each.code for each in own.mistakes] == ["HWP109"]
    assert [each.code for each in lint(Report.from_json(own.to_json()))] == ["HWP109"]
    assert lint(own, ignore=["HWP109"]) == ()
    later = silenced(replace(own, request=replace(own.request, ignore=())), ("HWP109",))
    assert (later.mistakes, later.request.ignore) == ((), ("HWP109",))
    with pytest.raises(InputError, match=r"no mistake 'hwp110'. Did you mean HWP110\?"):
        plan(mlp(), ROW, "hopper", ignore=["hwp110"])


def test_the_magic_takes_codes_and_shows_what_is_left(shell: Any) -> None:
    shell.push({"net": with_masks(), "x": torch.randn(64, 512)})
    line = "%hwprune net --target hopper --pattern unstructured --sparsity 0.5"
    result, shown = cell(shell, f"{line} --ignore HWP109")
    assert isinstance(result.result, Run)
    said = " ".join(shown.split())
    assert "HWP101 Unstructured sparsity without kernels for it (error). On NVIDIA Hopper" in said
    assert "HWP109 Masks" not in said
    result, _ = cell(shell, f"{line} --ignore HWP109 --ignore HWP101")
    assert result.result.report.mistakes == ()
    assert "--ignore HWP109 --ignore HWP101" in " ".join(str(result.result).split())  # its line says the same again
    _, shown = cell(shell, f"{line} --ignore HWP999")
    assert "InputError: --ignore: there is no mistake 'HWP999'" in " ".join(shown.split())


def test_text_html_and_json_have_the_same_words() -> None:
    own = plan(mlp(), ROW, "hopper", pattern="unstructured", sparsity=0.5)
    [mistake] = own.mistakes
    bundle = Shown(own)._repr_mimebundle_()
    page = html.unescape(bundle["text/html"])
    text = " ".join(bundle["text/plain"].split())
    [data] = bundle["application/vnd.hwprune.report+json"]["mistakes"]
    for said in (mistake.code, mistake.title, mistake.what, mistake.why, mistake.fix, mistake.line):
        assert said is not None
        assert said.replace(" ", "\N{NO-BREAK SPACE}") in page or said in page
        assert said in text
        assert said in data.values()


def test_a_cliff_that_only_the_scored_half_knows_survives_a_merge() -> None:
    there = replace(gpu(), scores=None)
    here = compiled(replace(gpu(), scores=Scores("accuracy", 0.9, 0.2)))
    here = replace(here, mistakes=lint(here))
    assert {each.code for each in here.mistakes} == {"HWP112", "HWP117"}
    assert [each.code for each in merge(here, there).mistakes] == ["HWP112"]


def test_a_cliff_comes_with_the_line_that_corrects_the_weights_that_stay() -> None:
    fallen = fine(scores=Scores("accuracy", 0.9, 0.5))
    [found] = lint(fallen)
    assert found.line is not None
    assert "--importance second-order" in found.line
    assert "Correct the weights that stay" in found.fix
    for changed in ({"trained": True}, {"importance": "second-order"}, {"allocation": "global"}):
        [plain] = lint(replace(fallen, request=replace(fallen.request, **changed)))
        assert plain.line is None
        assert "second-order" not in plain.fix


def test_a_large_report_stays_small_with_its_mistakes() -> None:
    made = replace(gpu(*(_sparse(f"{'l' * 300}.{i}", used=i > 60) for i in range(120))), scores=None)
    made = replace(made, mistakes=lint(made) * 40)
    assert len(made.mistakes[0].layers) == 61
    assert len(json.dumps(Shown(made)._repr_mimebundle_())) <= 256 * 1024


def test_the_users_masks_stay_where_they_are_and_a_plain_model_has_none() -> None:
    model = with_masks()
    before = copy.deepcopy(model.state_dict())
    own = plan(model, ROW, "hopper")
    assert model.state_dict().keys() == before.keys()
    assert own.arrived is not None
    assert own.arrived.masked == ("0.weight",)
    assert own.arrived.across == ()


def test_a_runtime_that_tells_of_a_fallback_is_heard() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    options: dict[str, Any] = {
        "target": "tests.fakes.toy",
        "toolchain": "tests.fakes.falling",
        "effort": Effort(measure_s=1.0),
    }
    own = hwprune(model, torch.randn(8, 64), **options).report
    assert [layer.ran_on for layer in own.layers] == ["the host", None, None]
    [found] = [each for each in own.mistakes if each.code == "HWP115"]
    assert found.layers == ("0",)
    assert "ran on the host and not on NPU0" in found.what
