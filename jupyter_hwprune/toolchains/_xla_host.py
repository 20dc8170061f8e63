"""The program that is compiled for TPUs, compiled by XLA for this host's CPU, where it runs and is timed.

XLA's profiler names the instructions of the compiled text, in which each stands in the scope of its layer.
"""

from __future__ import annotations

import glob
import os
import re
import tempfile
from typing import Any

from . import _xla_cost, _xla_program

NO_TPU = (
    "XLA compiled for this CPU, with its usual kernels, the program that it compiles for TPUs. That shows that the "
    "program is right: none of its times says anything of a TPU, and no block is skipped here."
)
STATE = re.compile(r' parameter\(\d+\), metadata=\{op_name="states\[(\d+)\]"')
OPERAND = re.compile(r"%([\w.-]+)")
_runs_here = [False]


def start(threads: int) -> Any:
    """Import JAX for a run by so many threads, which XLA reads once, in the calling thread; returns jax."""
    os.environ["NPROC"] = str(threads)
    jax = _xla_program.start()
    if not _runs_here[0]:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
        _runs_here[0] = True
    return jax


class Compiled:
    """A program for this CPU; `text` is what XLA made of it."""

    def __init__(self, model: str, threads: int, path: str) -> None:
        jax = start(threads)
        self.program = _xla_program.Program(model)
        self.run = jax.jit(self.program.function).lower(self.program.states, self.program.inputs).compile()
        self.text = self.run.as_text()
        self.files = {"hlo": path}
        self.remarks = [NO_TPU]
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.text)


class Running:
    def __init__(self, compiled: Compiled, inputs: dict[str, Any]) -> None:
        import jax
        import numpy as np

        given = [np.asarray(each).astype(own.dtype) for each, own in zip(inputs.values(), compiled.program.inputs)]
        self.compiled = compiled
        self.states, self.inputs = jax.device_put((compiled.program.states, given))
        self.found: Any = None

    def run(self) -> None:
        self.found = self.compiled.run(self.states, self.inputs)

    def finish(self) -> None:
        import jax

        jax.block_until_ready(self.found)

    def outputs(self) -> list[Any]:
        self.run()
        return _xla_program.as_floats(self.found)


class Profile(Running):
    def __init__(self, compiled: Compiled, inputs: dict[str, Any]) -> None:
        super().__init__(compiled, inputs)
        self.told = _told(compiled.text, compiled.program.layers)
        self.us: dict[str, list[float]] = {}

    def run(self) -> None:
        import jax

        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder, profiler_options=options):
                super().run()
                self.finish()
            (path,) = glob.glob(os.path.join(folder, "**", "*.xplane.pb"), recursive=True)
            for name, us in self._instructions(jax.profiler.ProfileData.from_file(path)).items():
                self.us.setdefault(name, []).append(us)

    def _instructions(self, profile: Any) -> dict[str, float]:
        """Return the microseconds of each instruction from its start to its end, which another thread may see."""
        begun: dict[Any, tuple[str, float]] = {}
        ended: dict[Any, float] = {}
        for plane in profile.planes:
            for line in plane.lines:
                for event in line.events:
                    facts = dict(event.stats)
                    if facts.get("hlo_op") in self.told:
                        begun[facts["_p"]] = facts["hlo_op"], event.start_ns
                    elif event.name.startswith("end: "):
                        ended[facts["_c"]] = event.end_ns
        return {name: (ended[key] - since) / 1e3 for key, (name, since) in begun.items()}

    def kernels(self) -> list[Any]:
        rows = []
        for name, us in self.us.items():
            layer, op = self.told[name]
            names = [] if layer is None else [layer]
            kernel = name if op is None else name + (" (convolution)" if op == "Conv" else " (matrix product)")
            rows.append({"names": names, "op": op or "", "kernel": kernel, "sparse": False, "us": us})
        return rows


def _told(text: str, layers: list[str | None]) -> dict[str, tuple[str | None, str | None]]:
    """Return the layer and the operator of each instruction.

    XLA drops the scope of a convolution that it rewrites as a product, which is then known by the weight that it reads.
    """
    entry, products = _xla_cost.computations(text, _xla_program.SCOPE)
    told: dict[str, tuple[str | None, str | None]] = {}
    weights: dict[str, str] = {}  # instruction that only moves a weight -> its layer
    for line in entry:
        name = _xla_cost.name_of(line)
        if name is None:
            continue
        state = STATE.search(line)
        own = layers[int(state[1])] if state else None
        operands = OPERAND.findall(line.partition("(")[2].partition(")")[0])
        read = {weights[each] for each in operands if each in weights}
        layer, op = _xla_cost.layer_of(line, products, _xla_program.SCOPE)
        if own is not None:
            weights[name] = own
        elif len(read) == 1 and all(each in weights for each in operands):
            (weights[name],) = read
        elif len(read) == 1 and layer is None and op is not None:
            (layer,) = read
        told[name] = layer, op
    return told
