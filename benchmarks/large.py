"""How `--from` grows with the model: `python -m benchmarks.large` prunes folders of 100 million to 1 billion weights.

Llama's form with random weights in bfloat16, written tensor by tensor, so that the whole is never in memory here
either: times and memory do not depend on the values, errors do, and are left out. Wall and CPU seconds of one thread;
the peak is that of the process while a block is pruned, above what it held before the first. Beside each, and for a
model that was not run, the figures on paper: the arithmetic below, with its time scaled from the largest that was run.
Each size is written to the results at once, and taken from there the next time.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from benchmarks.masks import cpu_name
from jupyter_hwprune import prune_folder

RESULTS = Path(__file__).parent / "results" / "large.json"
PATTERN, ROWS, LENGTH, VOCABULARY = "2:4", 16, 128, 32000
WORKING = 5  # copies of a layer's weight in float32 that the solver works with, by its own account
PIECES = 8 << 24  # bytes of what it works on at once, by the same
COLUMNS = (
    *("model", "weights", "files", "blocks", "s a block, wall", "min-max", "s in all, wall", "s in all, CPU"),
    *("peak of a block", "on paper", "the whole in float32"),
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a model in Llama's form, and its cost on paper."""

    hidden: int
    inner: int
    blocks: int
    heads: int
    key_heads: int

    @property
    def layers(self) -> list[tuple[int, int]]:
        """The outputs and inputs of a block's layers."""
        keys = self.hidden // self.heads * self.key_heads
        attention = [(self.hidden, self.hidden), (keys, self.hidden), (keys, self.hidden), (self.hidden, self.hidden)]
        return [*attention, (self.inner, self.hidden), (self.inner, self.hidden), (self.hidden, self.inner)]

    @property
    def block_weights(self) -> int:
        return sum(outputs * inputs for outputs, inputs in self.layers)

    @property
    def weights(self) -> int:
        return self.blocks * self.block_weights + 2 * VOCABULARY * self.hidden

    @property
    def peak_bytes(self) -> int:
        """A block in float32 and what the solver takes for its largest layer: three Gram matrices, copies, pieces."""
        solver = max(3 * inputs**2 + WORKING * outputs * inputs for outputs, inputs in self.layers)
        return 4 * (self.block_weights + solver) + PIECES

    def block_operations(self, tokens: int) -> float:
        """Multiply-adds of a block: six passes, four Gram matrices, and a solver's factor and sweep for each layer."""
        passes = 6 * tokens * self.block_weights
        grams = tokens * (3 * self.hidden**2 + self.inner**2) / 2
        return passes + grams + sum(inputs**3 / 3 + outputs * inputs**2 for outputs, inputs in self.layers)


SHAPES = {
    "100M": Shape(768, 2048, 12, 12, 4),
    "300M": Shape(1024, 2816, 24, 16, 4),
    "1B": Shape(2048, 5632, 22, 32, 4),
}
ON_PAPER = {"7B": Shape(4096, 14336, 32, 32, 8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--solver", default="quick", choices=("quick", "full", "best"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="measure again what is written there")
    parser.add_argument("--quick", action="store_true", help="the smallest model alone")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = provenance(options.solver)
    if options.out.exists() and not options.fresh:
        stored = json.loads(options.out.read_text())
        if {**stored, "created": None, "models": None} == {**data, "created": None, "models": None}:
            data = stored
    for name in options.sizes[:1] if options.quick else options.sizes:
        if name not in data["models"]:
            data["models"][name] = measured(name, options.solver)
            options.out.write_text(json.dumps(data, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(written(data) + "\n")
    print(written(data))


def measured(name: str, solver: str) -> dict[str, Any]:
    """Write one model, prune it, and remove both."""
    shape = SHAPES[name]
    ids = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        size = write(shape, Path(folder) / "dense")
        wall, cpu = time.perf_counter(), time.process_time()
        asked: dict[str, Any] = {"pattern": PATTERN, "importance": "second-order", "solver": solver, "calib": ids}
        found = prune_folder(Path(folder) / "dense", out=Path(folder) / "new", **asked, progress=tell).report
        seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        shutil.rmtree(Path(folder) / "dense")
    assert found.blockwise is not None
    assert all(layer.valid for layer in found.layers)
    return {"bytes": size, **seconds, "blocks": [asdict(block) for block in found.blockwise.blocks]}


def write(shape: Shape, folder: Path) -> int:
    """Write a model's configuration and its random weights, a file for each block; return the weights' bytes."""
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    files: dict[str, list[tuple[str, torch.Size]]] = {}
    for name, parameter in model.named_parameters():
        block = name.split(".")[2] if ".layers." in name else "rest"
        files.setdefault(f"model-{block}.safetensors", []).append((name, parameter.shape))
    random = torch.Generator().manual_seed(0)
    total = 0
    for file, named in files.items():
        tensors = {name: weight(size, random) for name, size in named}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        total += sum(each.nbytes for each in tensors.values())
    index = {"metadata": {}, "weight_map": {name: file for file, named in files.items() for name, _ in named}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return total


def weight(size: torch.Size, random: torch.Generator) -> torch.Tensor:
    if len(size) == 1:
        return torch.ones(size, dtype=torch.bfloat16)
    return torch.empty(size, dtype=torch.bfloat16).normal_(0.0, size[1] ** -0.5, generator=random)


def tell(_phase: str, detail: str) -> None:
    print(f"\r{detail:<60}", end="", file=sys.stderr, flush=True)


def provenance(solver: str) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "pattern": PATTERN,
        "solver": solver,
        "tokens": ROWS * LENGTH,
        "models": {},
    }


def written(data: dict[str, Any]) -> str:
    """Return the table and what it was measured with."""
    rows = [row(name, data["models"][name]) for name in SHAPES if name in data["models"]]
    rows += [on_paper(name, shape, data) for name, shape in ON_PAPER.items()]
    where = (
        f"{data['pattern']} by second order, `--solver {data['solver']}`, {data['tokens']} calibration tokens, "
        f"{data['threads']} thread, {data['cpu']}; torch {data['torch']}, transformers {data['transformers']}, "
        f"Python {data['python']}; {data['created'][:10]}, on a machine that others use too."
    )
    run = [name for name in SHAPES if name in data["models"]]
    peaks = [each["peak_bytes"] for each in data["models"][run[-1]]["blocks"] if each["peak_bytes"] is not None]
    over = f" {run[-1]} took {max(peaks) / SHAPES[run[-1]].peak_bytes:.1f} times that." if peaks else ""
    notes = (
        "The peak on paper is a block in float32, with three Gram matrices and five copies of its largest layer, and "
        f"128 MiB.{over} Seconds on paper are those of the largest model that was run, scaled by the number of "
        "multiply-adds."
    )
    lines = [" | ".join(each) for each in (COLUMNS, ("---",) * len(COLUMNS), *rows)]
    return "\n".join([where, "", *(f"| {line} |" for line in lines), "", notes])


def row(name: str, found: dict[str, Any]) -> tuple[str, ...]:
    shape = SHAPES[name]
    seconds = [each["seconds"] for each in found["blocks"]]
    peaks = [each["peak_bytes"] for each in found["blocks"] if each["peak_bytes"] is not None]
    return (
        name,
        f"{shape.weights / 1e6:.0f} M",
        gigabytes(found["bytes"]),
        str(len(seconds)),
        f"{median(seconds):.1f}",
        f"{min(seconds):.1f}-{max(seconds):.1f}",
        f"{found['wall_s']:.0f}",
        f"{found['cpu_s']:.0f}",
        gigabytes(max(peaks)) if peaks else "not measured",
        gigabytes(shape.peak_bytes),
        gigabytes(4 * shape.weights),
    )


def on_paper(name: str, shape: Shape, data: dict[str, Any]) -> tuple[str, ...]:
    run = [each for each in SHAPES if each in data["models"]]
    known, tokens = SHAPES[run[-1]], data["tokens"]
    found = median(each["seconds"] for each in data["models"][run[-1]]["blocks"])
    seconds = found * shape.block_operations(tokens) / known.block_operations(tokens)
    times = (f"{seconds:.0f}, on paper", "", f"{seconds * shape.blocks:.0f}, on paper", "")
    sizes = ("not measured", gigabytes(shape.peak_bytes), gigabytes(4 * shape.weights))
    return (name, f"{shape.weights / 1e6:.0f} M", gigabytes(2 * shape.weights), str(shape.blocks), *times, *sizes)


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


if __name__ == "__main__":
    main()
