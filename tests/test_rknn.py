"""Rockchip's compiler for NPUs, which are not here: it estimates, and its simulator checks what it compiled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from jupyter_hwprune import Run, hwprune
from jupyter_hwprune.core.errors import InputError
from jupyter_hwprune.toolchains import _rknn_table, environments
from tests.contracts import NetworksContract
from tests.networks import ZOO, cnn

RECORDED = Path(__file__).parent / "recorded" / "rknn-rk3588.log"


def chain(middle: int) -> nn.Sequential:
    """Three convolutions, the second of which makes what the third reads, and a product of a matrix."""
    return nn.Sequential(
        *(nn.Conv2d(3, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, middle, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(middle, 128, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    ).eval()


@pytest.mark.usefixtures("environment_of_the_class")
class TestRknn(NetworksContract):
    name, target = "rknn", "rk3588"

    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        torch.manual_seed(0)
        return hwprune(chain(128), torch.randn(1, 3, 32, 32), target=cls.target, pattern="channel/32")

    @pytest.mark.smoke
    def test_half_the_channels_cost_fewer_cycles_and_get_no_verdict(self, run: Run) -> None:
        measurement = run.report.measurement
        assert measurement.kind == "estimated"
        assert measurement.evidence.kind == "compiler-estimate"
        assert measurement.unit == "cycles"
        assert run.report.verdict == "not measured"
        layers = {layer.name: layer.estimate for layer in run.report.layers}
        for name in ("2", "4"):  # half the inputs and half the outputs of products that the NPU's arithmetic bounds
            estimate = layers[name]
            assert estimate is not None
            assert estimate.dense / estimate.pruned == pytest.approx(4, rel=0.01)
        assert sum(each.dense for each in layers.values() if each) <= measurement.dense
        assert run.report.check is not None
        assert 0 < max(run.report.check.dense_error, run.report.check.pruned_error) < run.report.check.tolerance
        assert {"onnx", "rknn", "table"} <= set(run.artifacts)
        assert all(path.stat().st_size > 0 for path in run.artifacts.values())

    def test_zeros_buy_nothing(self) -> None:
        x = torch.randn(1, 3, 32, 32)
        measurement = hwprune(chain(128), x, target="rk3588", pattern="unstructured", sparsity=0.9).report.measurement
        assert measurement.kind == "estimated"
        assert measurement.pruned == measurement.dense

    def test_channels_that_do_not_fill_the_unit_cost_as_many_cycles_as_those_that_do(self) -> None:
        """35 inputs are counted as 64."""
        x = torch.randn(1, 3, 32, 32)
        found = {}
        for middle in (35, 64):
            report = hwprune(chain(middle), x, target="rk3588", pattern="unstructured", sparsity=0.5).report
            found[middle] = next(layer.estimate for layer in report.layers if layer.name == "4")
        assert found[35] is not None
        assert found[64] is not None
        assert found[35].dense == found[64].dense

    def test_zeros_2_to_4_are_taken_in_int8_by_the_one_chip_that_has_kernels_for_them(self) -> None:
        """And there they save traffic: the compiler counts as many cycles of the NPU as before."""
        x, found = torch.randn(1, 3, 32, 32), {}
        for target, dtype in (("rk3576", "int8"), ("rk3576", "float16"), ("rk3588", "int8")):
            report = hwprune(chain(128), x, target=target, pattern="2:4", dtype=dtype).report
            used = {layer.name: layer.used for layer in report.layers}
            assert report.footprint is not None
            before, after = report.footprint.dense, report.footprint.pruned
            assert before is not None
            assert after is not None
            found[target, dtype] = used["2"], used["4"], before.traffic_bytes != after.traffic_bytes
            assert report.check is not None
            assert max(report.check.dense_error, report.check.pruned_error) < report.check.tolerance
            assert any("with ranges from the example" in each for each in report.reasons) == (dtype == "int8")
        assert found == {
            ("rk3576", "int8"): (True, True, True),
            ("rk3576", "float16"): (False, False, False),
            ("rk3588", "int8"): (False, False, False),
        }

    @pytest.mark.parametrize("target", ["rk3576", "rk3566", "rk3562"])
    def test_the_other_chips_are_compiled_for_too(self, target: str) -> None:
        report = hwprune(cnn(), torch.randn(2, 3, 16, 16), target=target, pattern="channel/8").report
        assert report.measurement.kind == "estimated"

    def test_a_network_that_its_compiler_stumbles_over_gets_its_words(self) -> None:
        build, make_input = ZOO["recurrent"]
        evidence = hwprune(build(), make_input(), target=self.target, pattern="channel/4").report.measurement.evidence
        assert evidence.kind == "unavailable"
        assert "compile" in (evidence.reason or "")
        assert "Traceback" not in (evidence.reason or "")


def test_the_licence_is_shown_before_anything_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jupyter_hwprune import setup

    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match=r"compatible with products of Rockchip.*--accept-licence"):
        setup("rknn")
    assert not list(tmp_path.glob("rknn-*"))


def test_a_recorded_table_gives_the_cycles_of_each_layer_and_what_fell_to_the_cpu() -> None:
    log = RECORDED.read_text(encoding="utf-8")
    table = _rknn_table.table_in(log)
    estimate = _rknn_table.estimate(table)
    assert estimate["total"] == sum(each["cost"] for each in estimate["layers"])
    costs = {each["names"][0]: each["cost"] for each in estimate["layers"] if each["names"] and each["cost"]}
    assert costs["3::Conv_2"] == 294912
    assert "6::Relu_5" not in costs  # an operator that the compiler adds belongs to no layer
    assert _rknn_table.memory(table, log)["weight_bytes"] == 165.25 * 1024
    assert _rknn_table.remarks(table)[0] == "The compiler leaves these operators to the CPU: Reshape."


@pytest.mark.parametrize(("old", "new"), [("Cycles(DDR/NPU/Total)", "Cycles"), ("Network Layer", "Layer")])
def test_a_table_of_another_form_is_not_read(old: str, new: str) -> None:
    with pytest.raises(RuntimeError, match="no table"):
        _rknn_table.table_in(RECORDED.read_text(encoding="utf-8").replace(old, new))
