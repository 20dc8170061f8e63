"""How far the estimates for TPUs are from known facts, and from each other: `python -m benchmarks.tpu_estimator`.

Dense products of several shapes in bfloat16 are compiled by XLA for each generation, in the environment that
`%hwprune setup xla` makes; no TPU is needed and none is timed. The roofline is the longer of the products at the
published peak and of the bytes at the published bandwidth: no chip can take less, and a good compiler little more. The
estimate is the longer of the compiler's cycles and of these bytes. Where weights are fetched ahead of the product, the
cycles leave out the fetch, and the bytes decide; where they are streamed through it, the cycles hold the compiler's own
model of the memory. The last column is the block-sparse kernel with every block kept, counted by its bundles, against
XLA's cycles for the same product: by so much the two differ where nothing is saved, by their count or their schedule,
and a ratio of a block-sparse kernel to a dense product is as uncertain. `--quick` leaves out the largest shape.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "tpu_estimator.json"
TOOLCHAINS = Path(__file__).parents[1] / "jupyter_hwprune" / "toolchains"
CHIPS = ("v4", "v5e", "v5p", "v6e", "7x")
SHAPES = (  # M, K, N
    *((1024, 1024, 4096), (1024, 4096, 4096), (4096, 4096, 4096), (128, 4096, 4096), (8, 8192, 8192)),
    (8192, 8192, 8192),
)
WITH_KERNEL = SHAPES[:1]  # every block of a larger one is long to compile
WITHIN = 1.15  # of the roofline, what is asked of an estimate
COLUMNS = (
    "chip",
    "M x K x N",
    "bound by",
    "roofline, ms",
    "estimate, ms",
    "estimate / roofline",
    "kernel / XLA, dense",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest shape")
    parser.add_argument("--chips", nargs="*", default=CHIPS)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    shapes = SHAPES[:-1] if options.quick else SHAPES
    if options.inside:  # in the toolchain's own environment
        for shape in shapes:
            print(json.dumps(estimate(options.inside, *shape)), flush=True)
        return
    from jupyter_hwprune.toolchains import probe

    rows, versions = _known(options.out)
    for chip in options.chips:
        versions = dict(probe("xla").versions)
        for found in _compiled(chip, quick=options.quick):
            rows = [each for each in rows if (each["chip"], each["shape"]) != (chip, found["shape"])] + [found]
            rows.sort(key=lambda each: (CHIPS.index(each["chip"]), SHAPES.index(tuple(each["shape"]))))
            data = {"versions": versions, "rows": rows}
            options.out.write_text(json.dumps(data, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(rows, versions) + "\n")
            print(chip, found["shape"], "estimated", file=sys.stderr, flush=True)
    print(table(rows, versions))


def _known(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    if not path.exists():
        return [], {}
    data = json.loads(path.read_text())
    return data["rows"], data["versions"]


def _compiled(chip: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Estimate a chip's products in a process of the environment, whose libraries may abort."""
    from jupyter_hwprune.toolchains import interpreter

    python = interpreter("xla")
    assert python is not None
    command = [python, "-I", __file__, "--inside", chip, *(["--quick"] if quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own file
        for line in process.stdout or ():
            if line.startswith("{"):
                yield json.loads(line)
    if process.returncode:
        raise SystemExit(f"the estimates for {chip} ended with {process.returncode}")


def estimate(chip: str, rows: int, inputs: int, outputs: int) -> dict[str, Any]:
    """Compile one dense product for a chip by XLA, and by the block-sparse kernel with all blocks kept."""
    package = types.ModuleType("toolchains")
    package.__path__ = [str(TOOLCHAINS)]
    sys.modules.setdefault("toolchains", package)
    blocks, bundles, choice, cost, program = (
        importlib.import_module(f"toolchains._xla_{name}")
        for name in ("blocks", "bundles", "choice", "cost", "program")
    )
    program.start()
    bundles.start()
    import jax
    import ml_dtypes
    import numpy as np

    own = cost.CHIPS[chip]
    x, weight = (jax.ShapeDtypeStruct(shape, ml_dtypes.bfloat16) for shape in ((rows, inputs), (outputs, inputs)))
    text = choice.compiled(lambda x, w: x @ w.T, (x, weight), own).as_text()
    found = {
        "chip": chip,
        "shape": [rows, inputs, outputs],
        "compute_ms": 2 * rows * inputs * outputs / own.tflops / 1e9,
        "memory_ms": 2 * (rows * inputs + inputs * outputs + rows * outputs) / own.gb_per_s / 1e6,
        "cycles_ms": cost.estimate(text, "", {}, 0, own, {})["total"],
        "kernel_ms": None,
    }
    if (rows, inputs, outputs) in WITH_KERNEL:
        product = types.SimpleNamespace(rows=rows, activation="none")
        full = np.ones((outputs, inputs), ml_dtypes.bfloat16)
        forms = blocks.kernels(full, None, rows, "none", own.unit, own.vmem_bytes)
        times = [ms for form in forms if (ms := choice.alone(form, full, product, own)) is not None]
        found["kernel_ms"] = min(times, default=None)
    return found


def table(rows: list[dict[str, Any]], versions: dict[str, str]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    within = 0
    for each in rows:
        memory = each["memory_ms"] > each["compute_ms"]
        roofline = max(each["memory_ms"], each["compute_ms"])
        estimated = max(each["memory_ms"], each["cycles_ms"])
        ratio, kernel = estimated / roofline, each["kernel_ms"]
        within += ratio <= WITHIN
        cells = [
            f"tpu-{each['chip']}",
            " x ".join(map(str, each["shape"])),
            "bandwidth" if memory else "peak",
            f"{roofline:.3g}",
            f"{estimated:.3g} by {'bytes' if each['memory_ms'] >= each['cycles_ms'] else 'cycles'}",
            f"{ratio:.2f}" + ("" if ratio <= WITHIN else ": not within 15 %"),
            ("no count" if tuple(each["shape"]) in WITH_KERNEL else "-")
            if kernel is None
            else f"{kernel / each['cycles_ms']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    ends = f"{within} of {len(rows)} estimates are within 15 % of the roofline. Estimates with {said}; none was timed."
    return "\n".join([*lines, "", ends])


if __name__ == "__main__":
    main()
