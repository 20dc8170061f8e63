"""Reports with their words, for the tests of the TypeScript side to draw: every kind, and every field that has a word.

Their numbers are made up.
"""
# ruff: noqa: INP001  (a script's other half, no package)

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from jupyter_hwprune import report as r
from jupyter_hwprune.core.goal import Goal

SPREAD = r.Comparison(3.0445, 2.9449, 3.1251, 0.03125, "faster")
NOISE = r.Comparison(1.005, 0.985, 1.025, 0.0345, "no measurable gain")
SLOWER = r.Comparison(0.7125, 0.7, 0.725, 0.03, "slower")
SAMPLES = r.Samples((1.0, 1.1, 1.2), (1.0, 1.1, 1.2))
MEASURED = r.Evidence("measured", device="a device, made up")
MISSING = r.Evidence("unavailable", reason="there is no counter", cure="a driver that has one")
UNMEASURED = r.Untimed(MISSING)
TIMED = r.Timed(MEASURED, "cpu", SAMPLES, SAMPLES, SAMPLES, 2.125, 0.6995, SPREAD)


def cases() -> dict[str, Any]:
    """Return the reports as their JSON has them, words and all."""
    return {name: json.loads(each.to_json()) for name, each in _reports().items()}


def _layer(name: str, **changes: Any) -> r.Layer:
    plain = r.Layer(name, "Conv2d", (64, 32, 3, 3), (64, 32, 3, 3), "2:4", 0.5, 1_234_567, 617_283, True, 1.0, None)
    return replace(plain, **changes)


def _reports() -> dict[str, r.Report]:
    request = r.Request("net", "x86-cpu", "deepsparse", "CPU", "float32", "2:4", 0.5, "magnitude", "uniform", 1, 8)
    plain = r.Report(
        created="2026-01-01T00:00:00+00:00",
        request=request,
        chip="a chip, made up",
        typical_speedup=None,
        totals=r.Totals(94_186, 24_058, 19_474_432, 5_018_624),
        layers=(_layer("a"), _layer("b", macs=9_000_000)),
        skipped=(),
        returned=(),
        other_kernels=None,
        measurement=TIMED,
        energy=None,
        counters=None,
        check=None,
        scores=None,
        reasons=("because",),
        machine=None,
        versions={"onnxruntime": "1", "python": "3", "torch": "2"},
        fingerprints=r.Fingerprints("a", "b"),
    )
    return {
        "plain": plain,
        "full": _full(plain),
        "unmeasured": _unmeasured(plain),
        "gpu": _gpu(plain),
        "estimated": _estimated(plain),
        "compiled": _compiled(plain),
        "corners": _corners(plain),
        "runtimes": _runtimes(plain),
        "search": _search(plain),
        "steps": _steps(plain),
    }


def _full(plain: r.Report) -> r.Report:
    """Return a CPU's report with a rival that wins, scores, a scan, and layers of every kind."""
    cut = _layer("a.very.long.name.of.a.layer", pruned_shape=(32, 16, 3, 3), dense_us=12.345, pruned_us=4.5)
    timed = replace(cut, speed=SPREAD, used=True, kernel="Conv", pruned_kernel="Conv (NCHWc)", error=0.0125)
    layers = (
        timed,
        _layer("", valid=False, valid_groups=0.125, used=False, speed=NOISE, dense_us=99.0, pruned_us=98.5, error=0.3),
        _layer("c", speed=SLOWER, utilization=r.Utilization(0.615, None), kernel="gemm", dense_us=0.123, pruned_us=0.2),
    )
    curves = tuple(r.Curve(name, 100, (r.Point(0.5, 0.1), r.Point(0.9, None))) for name in ("c", "elsewhere"))
    skipped = tuple(r.Skipped(f"skipped.{i}", "Linear", (10, 10), f"reason {i // 5}") for i in range(7))
    return replace(
        plain,
        typical_speedup="1.5-2x",
        request=replace(plain.request, threads=4, importance="activation", schedule="cubic", steps=3),
        layers=layers,
        skipped=skipped,
        other_kernels=r.OtherKernels(10.0, None),
        baselines=(
            r.Baseline("onnxruntime", MEASURED, SAMPLES, SAMPLES, 0.7035, NOISE),
            r.Baseline("openvino", MISSING, None, None, None, r.NOT_COMPARED),
        ),
        sensitivity=r.Sensitivity("output error", curves, rows=256, passes=1234),
        check=r.OutputCheck(1.25e-6, 0.0, 1e-3, "the masked dense model"),
        hotspots=r.Hotspots(MEASURED, (r.Hotspot("a product", "[Dynamic code]", 1.25, None),)),
        scores=r.Scores("accuracy(net)", 0.98998, 0.125),
        mistakes=(
            r.Mistake("HWP101", "A title", "error", "Found.", "Why.", "Do `this`.", ("c",), "%hwprune net -o run"),
            r.Mistake("HWP113", "Another title", "warning", "It was noisy.", "Why.", "Be quiet."),
        ),
    )


def _unmeasured(plain: r.Report) -> r.Report:
    request = replace(
        plain.request,
        model="my net's",
        target="hopper",
        toolchain="cusparselt",
        device="cuda",
        on_host=False,
        takes_dtype=True,
    )
    wishes = replace(request, input="x[:8]", calib="loader", dense=("head", "a b"), permute=True, keep_all=True)
    layers = (_layer("a", served_by=("cusparselt", "tensorrt"), compressed=r.Compressed(262_144, 147_456)),)
    return replace(
        plain,
        request=replace(wishes, allocation="sensitivity", schedule="constant", steps=1, dtype="bfloat16"),
        measurement=UNMEASURED,
        layers=(*layers, _layer("b", served_by=())),
        energy=r.Energy(MISSING, None, None, None),
        counters=MISSING,
    )


def _gpu(plain: r.Report) -> r.Report:
    launched = replace(TIMED, dense_launch=r.Launch("CUDA graph", 1.5), pruned_launch=r.Launch("torch.compile", None))
    layers = (
        _layer("a", used=True, counters=r.Counters(12.0, 1.0), compressed=r.Compressed(262_144, 147_456)),
        _layer("b", used=True, counters=r.Counters(0.0, 1.0), compressed=r.Compressed(262_144, 147_456)),
    )
    used = r.EnergyOf(12.345, 4.5, 98_765.4, (12.0, 12.5), 1.25, 100)
    return replace(
        plain,
        request=replace(
            plain.request,
            device="cuda",
            on_host=False,
            takes_dtype=True,
            dtype="float16",
            recipe=r.Recipe("prune.yaml", "..."),
            threads=0,
        ),
        measurement=replace(launched, clock="wall", comparison=SLOWER),
        layers=layers,
        energy=r.Energy(MEASURED, 55_555.5, used, replace(used, total_mj=0.0999, windows_mj=(1.0, 1.5))),
        counters=MEASURED,
        returned=(r.Returned("c", "Linear", (8, 8), "within noise alone", 128, NOISE),),
    )


def _estimated(plain: r.Report) -> r.Report:
    """Return a report whose numbers are a compiler's own, for a chip that is not here."""
    memory = r.Memory(weight_bytes=640_000, sram_bytes=96_000, traffic_bytes=720_000), r.Memory(weight_bytes=320_000)
    layers = tuple(
        replace(_layer(name), evidence="compiler-estimate", estimate=r.LayerEstimate(dense, dense / 2, *memory))
        for name, dense in (("a", 1_500_000.0), ("b", 2_500_000.0))
    )
    return replace(
        plain,
        request=replace(plain.request, target="ethos-u85", toolchain="vela", device="Ethos-U85", on_host=False),
        measurement=r.Estimated(
            r.Evidence("compiler-estimate", device="a compiler, made up"),
            "cycles",
            5e6,
            2.8e6,
            clock_mhz=1000.0,
            dense_utilization=0.61,
            pruned_utilization=0.54,
        ),
        layers=layers,
        footprint=r.Footprint(1_250_000, 700_000, *memory),
        typical_speedup="1.5-2x",
    )


def _compiled(plain: r.Report) -> r.Report:
    """Return a report of a model that was compiled for a chip that is not here."""
    evidence = r.Evidence("compiled", device="a chip, made up", reason="the chip is not here", cure="run it there")
    request = replace(plain.request, target="arm-cpu", toolchain="tvm", device="arm64", on_host=False)
    return replace(plain, request=request, measurement=r.Untimed(evidence), footprint=r.Footprint(1_250, 800))


def _steps(plain: r.Report) -> r.Report:
    """Return the report of a training in steps, each with its score."""
    request = replace(plain.request, schedule="cubic", steps=3, trained=True)
    steps = (r.TrainedStep(0.35, 12.5, 0.97), r.TrainedStep(0.48, 11.0, 0.955), r.TrainedStep(0.5, 30.25, 0.96))
    return replace(plain, request=request, trained=steps, scores=r.Scores("accuracy(net)", 0.98, 0.96))


def _search(plain: r.Report) -> r.Report:
    """Return the report of a search that its limit on the score has stopped."""
    points = (
        r.SearchPoint("25 % of each set of channels", 0.25, 0.56, 1.25, 2.125, size_bytes=960_000, score=0.97),
        r.SearchPoint("50 % of each set of channels", 0.5, 0.25, 0.75, 2.125, 0.8, 433_000, score=0.5),
        r.SearchPoint(
            "0 % to 50 % of the sets of channels", 0.375, 0.5, 0.9, 2.125, 0.9, 800_000, score=0.975, chosen=True
        ),
    )
    goal = Goal(speedup=5.0, max_drop=0.01)
    search = r.Search(goal, "ms", points, "score", rounds=1, remembered=2, seconds=42.5, dense_score=0.98)
    request = replace(plain.request, toolchain="onnxruntime", pattern="channel/8", sparsity=0.375)
    return replace(plain, request=request, search=search, scores=r.Scores("accuracy(net)", 0.98, 0.975))


def _corners(plain: r.Report) -> r.Report:
    """Return a report with int8 models, one of which is the fastest, and with a layer that stays in float."""
    both = r.Comparison(7.5, 7.25, 7.75, 0.03125, "faster")
    rows = (
        r.Corner(pruned=False, dtype="float32", ms=2.125, file_bytes=1_710_000, error=1e-7, score=0.98),
        r.Corner(True, "float32", 0.6995, SPREAD, 433_000, 2e-7, 0.97, None, 0),
        r.Corner(False, "int8", 2.11, NOISE, 437_000, 0.0024, 0.975, SAMPLES, 2),
        r.Corner(True, "int8", 0.283, both, 116_000, 0.0025, None, SAMPLES, 1),
    )
    corners = r.Corners(
        MEASURED,
        rows,
        on_int8=both,
        on_pruned=NOISE,
        quantiser="a library 1.0, static",
        calibration_rows=128,
        left_in_float=(r.LeftInFloat("c", "the library has no quantiser for LSTM"),),
        fast_int8=("AVX-512 VNNI",),
        unscored="the score calls a part of the model",
    )
    request = replace(plain.request, toolchain="onnxruntime", pattern="channel/8", dtype="int8", takes_dtype=True)
    return replace(plain, request=request, corners=corners, scores=r.Scores("accuracy(net)", 0.98, 0.97))


def _runtimes(plain: r.Report) -> r.Report:
    """Return a report of three runtimes, of which another than its own is the fastest, and one could not be timed."""
    own = r.Runtime("onnxruntime", "1.31", 2.125, 0.6995, SPREAD, error=2e-7)
    other = r.Runtime("openvino", None, 1.5, 0.5, SPREAD, alone=NOISE, timed=replace(TIMED, rounds=(2, 1)))
    left_out = (r.LeftOut("deepsparse", "it is not installed", "`%hwprune setup deepsparse`"),)
    both = r.Comparison(4.25, 4.0, 4.5, 0.0725, "faster")
    request = replace(plain.request, toolchain="onnxruntime", pattern="channel/8")
    measurement = replace(TIMED, rounds=(3,), interrupted=3)
    return replace(plain, request=request, measurement=measurement, runtimes=r.Runtimes((own, other), both, left_out))
