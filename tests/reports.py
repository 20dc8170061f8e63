"""Reports of any size without a run, for what reads and draws them. Their times are made up."""

from __future__ import annotations

from dataclasses import replace

import torch

from jupyter_hwprune.measure.judge import compare
from jupyter_hwprune.pruning.masks import keep_n_of_m
from jupyter_hwprune.pruning.picture import draw
from jupyter_hwprune.report import (
    NOT_COMPARED,
    Estimated,
    Evidence,
    Fingerprints,
    Footprint,
    Layer,
    LayerEstimate,
    Machine,
    Memory,
    OtherKernels,
    OutputCheck,
    Report,
    Request,
    Samples,
    Scores,
    Skipped,
    Timed,
    Totals,
    Untimed,
)

TIMES = (2.0, 2.1, 2.05, 2.0)
HALF = (1.0, 1.1, 1.0, 1.05)


def timed(report: Report) -> Timed:
    """Return what was timed, where it has to be."""
    assert report.timed is not None
    return report.timed


def layer(name: str, rows: int, columns: int) -> Layer:
    """Describe one 2:4 layer; its mask is made, drawn, and let go."""
    keep = keep_n_of_m(torch.rand(rows, columns), 2, 4)
    return Layer(
        name,
        "Linear",
        (rows, columns),
        (rows, columns),
        "2:4",
        0.5,
        rows * columns,
        rows * columns // 2,
        valid=True,
        valid_groups=1.0,
        used=False,
        speed=compare(TIMES, TIMES, HALF),
        kernel="gemm",
        pruned_kernel="gemm",
        dense_us=2000.0,
        pruned_us=1000.0,
        picture=draw(keep),
    )


def report(layers: tuple[Layer, ...], skipped: tuple[Skipped, ...] = ()) -> Report:
    weights = sum(each.shape[0] * each.shape[1] for each in layers)
    dense, pruned = Samples(TIMES, TIMES), Samples(HALF, HALF)
    return Report(
        created="2026-01-01T00:00:00+00:00",
        request=Request("net", "x86-cpu", "onnxruntime", "CPU", "float32", "2:4", 0.5, "magnitude", "uniform", 1, 1),
        chip="x86-64 CPU of any maker",
        typical_speedup=None,
        totals=Totals(weights, weights // 2, weights, weights // 2),
        layers=layers,
        skipped=skipped,
        returned=(),
        other_kernels=OtherKernels(10.0, 11.0),
        measurement=Timed(
            Evidence("measured", device="a CPU"), "cpu", dense, dense, pruned, 2.0, 1.0, compare(TIMES, TIMES, HALF)
        ),
        energy=None,
        counters=None,
        check=OutputCheck(1e-6, 2e-6, 1e-3),
        scores=Scores("accuracy", 0.9, 0.8),
        reasons=("because",),
        machine=Machine("a CPU", "x86_64", 2, "Linux", 0.1),
        versions={"onnxruntime": "1", "torch": "2"},
        fingerprints=Fingerprints("a", "b"),
    )


def not_timed(timed: Report, measurement: Estimated | Untimed) -> Report:
    """Return a report of the same pruning for a chip that is not here; the compiled files have a size."""
    estimate, kind = None, None
    if isinstance(measurement, Estimated):
        estimate, kind = LayerEstimate(2e6, 1e6, Memory(4_000, 800), Memory(2_000, 400)), measurement.evidence.kind
    layers = tuple(
        replace(
            each,
            used=None,
            speed=NOT_COMPARED,
            kernel=None,
            pruned_kernel=None,
            dense_us=None,
            pruned_us=None,
            estimate=estimate,
            evidence=kind,
        )
        for each in timed.layers
    )
    files = Footprint(1_250_000, 700_000, Memory(1_000_000, 64_000, 3_000_000), Memory(500_000, 64_000, 1_500_000))
    return replace(timed, measurement=measurement, layers=layers, other_kernels=None, footprint=files)


def estimated(timed: Report) -> Report:
    reason, cure = "no such chip is here", "run it where there is one"
    evidence = Evidence("compiler-estimate", device="a compiler for a chip", reason=reason, cure=cure)
    return not_timed(timed, Estimated(evidence, "cycles", 5e6, 2.8e6))


def compiled(timed: Report) -> Report:
    evidence = Evidence("compiled", device="a chip", reason="no such chip is here", cure="run it where there is one")
    return not_timed(timed, Untimed(evidence))
