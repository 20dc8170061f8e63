"""The TensorRT toolchain on a constructed module in three versions: no kernel and no code of NVIDIA's runs here."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.choose.effort import Effort
from jupyter_hwprune.toolchains import _tensorrt_words, probe, tensorrt
from jupyter_hwprune.toolchains.contract import Runs
from tests.networks import ZOO
from tests.reports import timed

STAND_IN = "tests.fakes.tensorrt_stand_in"
KEEPS_THE_CONTRACT: Runs = tensorrt  # which the type checker proves
NOT_PICKED = "TensorRT timed its sparse kernels and picked a dense one"
NOT_ELIGIBLE = "TensorRT does not consider it eligible for sparse math"


SHORT = Effort(measure_s=0.05, profile_s=0.05, block_s=0.001)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))


def on(target: str, monkeypatch: pytest.MonkeyPatch, model: nn.Module, x: Any, **options: Any) -> Run:
    """Prune for `hopper`, where a stand-in takes cuSPARSELt's place and rules, or for `jetson`, TensorRT's own."""
    monkeypatch.setenv("HWPRUNE_CAPABILITY", {"hopper": "9.0", "jetson": "8.7"}[target])
    asked: dict[str, Any] = {"pattern": "2:4", "dtype": "float16", "effort": SHORT} | options
    return hwprune(model, x, target=target, toolchain=STAND_IN, **asked)


def faulty(fault: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("HWPRUNE_TRT_FAULT", fault)
    return on("hopper", monkeypatch, mlp(), torch.randn(8, 32))


class EveryVersion:
    """What holds in every version; each network is pruned once for all of its tests."""

    version: str
    not_picked = NOT_PICKED

    @pytest.fixture(autouse=True)
    def _version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HWPRUNE_TRT_VERSION", self.version)

    @pytest.fixture(scope="class")
    @classmethod
    def pruned_mlp(cls) -> tuple[nn.Module, Run]:
        torch.manual_seed(0)
        model = mlp()
        return model, cls.short_run("hopper", model, torch.randn(8, 32))

    @classmethod
    def short_run(cls, target: str, model: nn.Module, x: torch.Tensor) -> Run:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setenv("HWPRUNE_TRT_VERSION", cls.version)
            return on(target, monkeypatch, model, x)

    def test_layers_are_sparse_where_that_was_picked_and_dense_again_where_not(
        self, pruned_mlp: tuple[nn.Module, Run]
    ) -> None:
        model, run = pruned_mlp
        assert run.report.versions["tensorrt"].startswith(self.version)
        assert [(layer.name, layer.used) for layer in run.report.layers] == [("0", True), ("2", True)]
        assert [(back.name, back.reason) for back in run.report.returned] == [("4", self.not_picked)]
        assert torch.equal(run.model.get_parameter("4.weight"), model.get_parameter("4.weight"))
        assert int((run.model.get_parameter("2.weight") == 0).sum()) == 64 * 64 // 2

    def test_sparse_layers_take_less_time_and_name_their_tactic(self, pruned_mlp: tuple[nn.Module, Run]) -> None:
        layer = pruned_mlp[1].report.layers[0]
        assert "sparse" in (layer.pruned_kernel or "")
        assert "sparse" not in (layer.kernel or "")
        assert layer.speed.speedup == pytest.approx(1 / 0.6, rel=0.02)

    def test_the_engine_and_what_the_inspector_says_are_kept(self, pruned_mlp: tuple[nn.Module, Run]) -> None:
        artifacts = pruned_mlp[1].artifacts
        assert {"onnx", "engine", "layers"} <= set(artifacts)
        assert artifacts["engine"].stat().st_size > 0
        assert json.loads(artifacts["layers"].read_text())["Layers"]

    def test_it_says_how_it_was_started_what_that_took_and_what_energy(self, pruned_mlp: tuple[nn.Module, Run]) -> None:
        report = pruned_mlp[1].report
        launch = timed(report).pruned_launch
        assert launch is not None
        assert launch.way == "a CUDA graph"
        assert (launch.eager_ms or 0) > 0
        assert report.energy is not None
        assert report.energy.evidence.kind == "measured"

    def test_a_cnns_convolutions_map_back_to_their_layers(self) -> None:
        build, make_input = ZOO["cnn"]
        report = self.short_run("jetson", build(), make_input()).report
        assert [(layer.name, layer.used) for layer in report.layers] == [("1.0", True)]
        assert "fprop_sparse_conv" in (report.layers[0].pruned_kernel or "")
        assert [back.name for back in report.returned] == ["4"]

    def test_a_transformers_products_map_back_to_their_layers(self) -> None:
        build, make_input = ZOO["transformer"]  # whose input is int64, which 8.6 takes as int32
        report = self.short_run("jetson", build(), make_input()).report
        names = {"attention.q", "attention.k", "attention.v", "attention.o", "up", "down", "head"}
        assert {layer.name for layer in report.layers} == names
        assert all(layer.used and layer.pruned_us for layer in report.layers)
        assert report.other_kernels is not None
        assert report.other_kernels.dense_us

    def test_outputs_are_those_of_torch_each_in_its_place(self) -> None:
        build, make_input = ZOO["two_outputs"]
        check = self.short_run("jetson", build(), make_input()).report.check
        assert check is not None
        assert 0 < max(check.dense_error, check.pruned_error) < 1e-2


class Test86(EveryVersion):
    version = "8.6"


class Test10(EveryVersion):
    version = "10"


class Test11(EveryVersion):
    version = "11"
    not_picked = "TensorRT runs it with a dense kernel"  # this log counts the eligible layers and names none


def test_float32_is_run_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    build, make_input = ZOO["residual"]
    report = on("jetson", monkeypatch, build(), make_input(), pattern="channel/8", dtype="float32").report
    assert report.check is not None
    assert 0 < max(report.check.dense_error, report.check.pruned_error) < 1e-4


def test_bfloat16_goes_in_and_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    report = on("hopper", monkeypatch, mlp(), torch.randn(8, 32), dtype="bfloat16").report
    assert report.measurement.evidence.kind == "measured"
    assert [layer.used for layer in report.layers] == [True, True]


def test_bfloat16_is_not_measured_where_the_version_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_TRT_VERSION", "8.6")
    report = on("hopper", monkeypatch, mlp(), torch.randn(8, 32), dtype="bfloat16").report
    assert report.verdict == "not measured"
    assert "8.6.1 has no bfloat16" in (report.measurement.evidence.reason or "")


def test_a_layer_that_is_not_eligible_is_dense_again_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))
    report = on("jetson", monkeypatch, model, torch.randn(8, 8)).report
    assert [(back.name, back.reason) for back in report.returned] == [("0", NOT_ELIGIBLE)]
    assert [layer.name for layer in report.layers] == ["2"]


@pytest.mark.parametrize("fault", ["silent", "unknown names"])
def test_what_neither_log_nor_tactic_tells_is_kept_and_stays_unknown(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = faulty(fault, monkeypatch).report
    assert report.measurement.evidence.kind == "measured"
    assert report.returned == ()
    assert [layer.used for layer in report.layers] == [None, None, None]


def test_an_engine_that_no_graph_holds_is_started_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    launch = timed(faulty("graph", monkeypatch).report).pruned_launch
    assert launch is not None
    assert launch.way == "kernel by kernel"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("build", "RuntimeError: TensorRT cannot build this model: Error Code 10: Could not find any implementation"),
        ("parse", "RuntimeError: TensorRT cannot read this model: In node 3 with name: 1.0::Conv_2"),
        ("run", "RuntimeError: TensorRT did not start a run"),
        ("segfault", "was killed by SIGSEGV"),
        ("no gpu", "CUDA initialization failure with error: 35"),
        ("no device", "torch finds no NVIDIA GPU and driver here"),
    ],
)
def test_what_goes_wrong_is_a_result_that_names_it(fault: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = faulty(fault, monkeypatch).report
    assert report.verdict == "not measured"
    assert said in (report.measurement.evidence.reason or "")


def test_a_missing_package_comes_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_TRT_FAULT", "missing")
    status = probe(STAND_IN)
    assert not status.available
    assert "ModuleNotFoundError: import of tensorrt" in (status.reason or "")
    assert status.cure == tensorrt.MANIFEST["install"] == "pip install tensorrt"


def test_without_a_device_the_version_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWPRUNE_TRT_FAULT", "no device")
    assert (probe(STAND_IN).versions, probe(STAND_IN).devices) == ({"tensorrt": "10.16.1.11"}, {})


FUSED = "a.b::Conv_1 + ::Relu_2"
NESTED = "PWN(PWN(c::Relu_3), d::Add_4)"
OLD = "(Sparsity) Layers eligible for sparse math: "
OLD_PICKED = "(Sparsity) TRT inference plan picked sparse implementation for layers: "
NEW = "(Sparsity) Found {} layer(s) eligible to use sparse tactics"
NEW_PICKED = "(Sparsity) Chose {} layer(s) using sparse tactics"


@pytest.mark.parametrize(
    ("log", "eligible", "picked"),
    [
        ([], None, None),
        (["(Sparsity) Please provide sparse weights if you want to refit these layers."], None, None),
        ([OLD + f"{FUSED}, {NESTED}", OLD_PICKED + FUSED], ([FUSED, NESTED], True), ([FUSED], True)),
        ([OLD.strip(), OLD_PICKED], ([], True), ([], True)),
        ([NEW.format(2) + f": {FUSED}, {NESTED}", NEW_PICKED.format(0)], ([FUSED, NESTED], True), ([], True)),
        ([NEW.format(39), NEW_PICKED.format(2)], ([], False), ([], False)),
        (
            [NEW_PICKED.format(1) + ": x", NEW_PICKED.format(2) + ": x, y\n", NEW_PICKED.format(0)],
            None,
            (["x", "y"], True),
        ),
        ([NEW_PICKED.format(3) + ": x, y"], None, (["x", "y"], False)),
    ],
)
def test_both_wordings_of_the_log_are_read(log: list[str], eligible: Any, picked: Any) -> None:
    found = {key: said and (said.names, said.complete) for key, said in _tensorrt_words.read_sparsity(log).items()}
    assert found == {"eligible": eligible, "picked": picked}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (f"{FUSED}, {NESTED},e", [FUSED, NESTED, "e"]),
        (
            "{ForeignNode[a::MatMul_1...b::Add_9]}, f([g, h], {i, j})",
            ["{ForeignNode[a::MatMul_1...b::Add_9]}", "f([g, h], {i, j})"],
        ),
    ],
)
def test_a_list_is_split_at_the_commas_that_no_bracket_holds(text: str, names: list[str]) -> None:
    assert _tensorrt_words.split_names(text) == names


@pytest.mark.parametrize(
    ("told", "names", "op"),
    [
        ({"Name": FUSED, "LayerType": "CaskConvolution"}, ["a.b::Conv_1", "::Relu_2"], "Conv"),
        (
            {
                "Name": "matMul1_myl0_0",
                "LayerType": "gemm",
                "Metadata": "[ONNX Layer: q::MatMul_3]\x1f[ONNX Layer: q::Add_4]",
            },
            ["q::MatMul_3", "q::Add_4"],
            "MatMul",
        ),
        (
            {"Name": "matMul1_myl0_0", "LayerType": "gemm", "Outputs": [{"Name": "q::Add_4"}], "Metadata": ""},
            ["q::Add_4"],
            "MatMul",
        ),
        ({"Name": NESTED, "LayerType": "PointWiseV2"}, ["c::Relu_3", "d::Add_4"], "Relu"),
        ({"Name": "__myl_Move_myl0_1", "LayerType": "kgen"}, [], "kgen"),
        ({"Name": "only a name"}, [], "unknown"),
    ],
)
def test_a_layers_nodes_are_found_wherever_the_inspector_tells_of_them(
    told: dict[str, Any], names: list[str], op: str
) -> None:
    layer = _tensorrt_words.EngineLayer(told)
    layer.find_operator(set())
    assert (layer.names, layer.op) == (names, op)


@pytest.mark.parametrize(
    ("name", "layer", "holds"),
    [
        ("1.0::Conv_2 + 1.2::Relu_3", "1.0", True),
        ("1.0::Conv_2", "0", False),
        ("{ForeignNode[a::MatMul_1...b::Add_9]}", "b", True),
        ("ab::MatMul_1", "b", False),
        ("PWN(x, m.b::Gemm_1)", "m.b", True),
    ],
)
def test_a_layers_name_is_not_taken_for_the_end_of_anothers(name: str, layer: str, holds: bool) -> None:
    assert _tensorrt_words.carries(name, layer) is holds
