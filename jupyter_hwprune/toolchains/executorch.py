"""ExecuTorch on the CPU: a .pte file for phones and boards, whose products XNNPACK computes.

Its event trace names XNNPACK's kernels with their times. Operators that XNNPACK does not take run by ExecuTorch's own
portable kernels. The file is the same for each CPU: it holds no machine code.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from typing import TYPE_CHECKING, Any

from . import _executorch_program as programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .contract import Quantised, Settings

MANIFEST = {
    "install": "%hwprune setup executorch",
    "takes": "program",
    "in_float32": ("float16", "bfloat16", "float64"),
    "cross_compiles": True,
    "checks": True,
    "quantises": "%hwprune setup executorch",
    "deploys": ("pte",),
    "script": """
import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime

portable_lib._unsafe_reset_threadpool($threads)
program = Runtime.get().load_program("$model")
method = program.load_method("forward")
inputs = [torch.from_numpy(each) for each in np.load("$example").values()]
for value in method.execute(inputs):
    print(tuple(value.shape), value.dtype)
""",
}
PORTABLE = "native_call_"  # before the names of ExecuTorch's own kernels in its trace
BLOCK_S, MOST_IN_BLOCK = 0.01, 20  # XNNPACK's clock steps by a microsecond, which averages out over a block of runs


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    from executorch.extension.pybindings import portable_lib

    if "XnnpackBackend" not in portable_lib._get_registered_backend_names():
        raise ImportError("this build of ExecuTorch has no XNNPACK")
    return {"versions": {"executorch": version("executorch")}, "devices": {"CPU": {"kind": "cpu"}}}


class _Artefact:
    def __init__(self, lowered: programs.Lowered) -> None:
        self.lowered = lowered
        self.files = {"pte": lowered.path}
        named = ", ".join(name + (" (%d)" % count if count > 1 else "") for name, count in lowered.left.items())
        said = "XNNPACK did not take %d of the model's operators, which run by ExecuTorch's portable kernels: %s."
        self.remarks = [said % (sum(lowered.left.values()), named)] if named else []


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Artefact:
    return _Artefact(programs.lower(model))


def load(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> _Running:
    return _Running(artefact.lowered, inputs, settings, traced=False)


def interpret(artefact: _Artefact, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host's CPU, which reads the same file as the one that was asked for."""
    return load(artefact, inputs, settings).outputs()


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Profile:
    return _Profile(programs.lower(model), inputs, settings, folder)


def quantise(model: str, calibration: list[Any], settings: Settings, folder: str) -> Quantised:
    from . import _executorch_int8

    return _executorch_int8.quantise(model, calibration)


class _Running:
    def __init__(self, lowered: programs.Lowered, inputs: dict[str, Any], settings: Settings, *, traced: bool) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        if portable_lib._threadpool_get_thread_count() != settings["threads"]:
            portable_lib._unsafe_reset_threadpool(settings["threads"])
        tensors = iter([torch.from_numpy(each) for each in inputs.values()])
        self.inputs = [next(tensors) if constant is None else constant[0] for constant in lowered.constants]
        with _logged() as words:
            try:
                self.program = Runtime.get().load_program(lowered.path, enable_etdump=traced)
                self.method: Any = self.program.load_method("forward")
                self.run()
            except RuntimeError as error:
                raise RuntimeError(_reason(words(), error)) from error

    def run(self) -> None:
        self.method.execute(self.inputs)

    def finish(self) -> None:
        """Do nothing: a run has finished when it returns."""

    def outputs(self) -> list[Any]:
        return [each.numpy() for each in self.method.execute(self.inputs)]


@contextlib.contextmanager
def _logged() -> Iterator[Callable[[], str]]:
    """Keep what the runtime writes to stderr, where alone it says which operator failed."""
    with tempfile.TemporaryFile() as file:
        own = os.dup(2)
        os.dup2(file.fileno(), 2)

        def words() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield words
        finally:
            os.dup2(own, 2)
            os.close(own)


def _reason(log: str, error: RuntimeError) -> str:
    operator = re.search(r"(?:in operator |Missing operator: \[\d+\] )([\w:.]+\w)", log)
    if operator is None:
        return str(error)
    check = re.search(r"Check failed \((.+)", log)
    why = ": " + check[1].strip().rstrip(":. ") if check else ""
    return "XNNPACK did not take " + operator[1] + ", and ExecuTorch has no other kernel that does" + why


class _Profile(_Running):
    """Each `run` is a block of runs, whose mean is one sample. The first run, on loading, is left out."""

    def __init__(self, lowered: programs.Lowered, inputs: dict[str, Any], settings: Settings, folder: str) -> None:
        super().__init__(lowered, inputs, settings, traced=True)
        self.lowered, self.folder, self.blocks = lowered, folder, 0
        start = time.perf_counter()
        super().run()
        self.runs_in_block = max(1, min(MOST_IN_BLOCK, round(BLOCK_S / (time.perf_counter() - start))))

    def run(self) -> None:
        if not hasattr(self, "runs_in_block"):
            return super().run()
        for _ in range(self.runs_in_block):
            super().run()
        self.blocks += 1
        return None

    def kernels(self) -> list[Any]:
        from executorch.devtools import Inspector

        trace, debug = (os.path.join(self.folder, name) for name in ("trace.etdp", "debug.bin"))
        self.program.write_etdump_result_to_file(trace, debug)
        blocks = [each for each in Inspector(etdump_path=trace).event_blocks if each.name == "Execute"]
        events = [each for block in blocks for each in block.events if each.perf_data is not None]
        found: dict[int, list[Any]] = {}  # by the instruction of the program that ran them
        for event in events:
            if event.is_delegated_op or event.name.startswith(PORTABLE):
                found.setdefault(event._instruction_id, []).append(event)
        delegates = iter(self.lowered.delegates)
        portable = {name: iter(products) for name, products in self.lowered.portable.items()}
        rows: list[Any] = []
        for together in found.values():
            if together[0].is_delegated_op:
                rows += self._delegated(together, next(delegates, []))
            else:
                rows += [self._portable(event, portable) for event in together]
        return rows

    def _delegated(self, events: list[Any], products: list[programs.Product]) -> Iterator[Any]:
        """Give the products of one delegate to their layers, in order."""
        weighted = [each for each in events if each.name.startswith(programs.KERNELS)]
        fitting = iter(products if len(weighted) == len(products) else [])
        for event in events:
            product = next(fitting, None) if event.name.startswith(programs.KERNELS) else None
            yield self._row(event, re.sub(r" #\d+$", "", event.name), product)

    def _portable(self, event: Any, products: dict[str, Iterator[programs.Product]]) -> Any:
        name = event.name[len(PORTABLE) :]
        row = self._row(event, "portable " + name, next(products.get(name.partition(".")[0], iter(())), None))
        return dict(row, ran_on="ExecuTorch's portable kernels") if row["names"] else row

    def _row(self, event: Any, kernel: str, product: programs.Product | None) -> Any:
        ms = list(event.perf_data.raw)[2:]  # but those on loading and to find the size of a block
        size = self.runs_in_block
        return {
            "names": [product.layer] if product is not None and product.layer is not None else [],
            "op": kernel.partition(" (")[0] if product is None else product.op,
            "kernel": kernel,
            "sparse": "SPMM" in kernel.upper(),
            "int8": re.search(r"Q[SDC]8|QU8", kernel) is not None,
            "us": [sum(ms[i * size : (i + 1) * size]) * 1e3 / size for i in range(self.blocks)],
        }
