"""XLA's own compiler for TPUs, which compiles and estimates on any machine; JAX gives it the program's operators.

For this host's CPU it compiles the same program, which then runs: a check, that says nothing of a TPU.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from . import _host, _xla_blocks, _xla_bundles, _xla_choice, _xla_cost, _xla_host, _xla_program

if TYPE_CHECKING:
    from ._xla_cost import Chip
    from .contract import Settings

MANIFEST = {
    "install": "%hwprune setup xla",
    "takes": "program",
    "converts": True,
    "cross_compiles": True,
    "estimates": "XLA's compiler for TPUs",
    "checks": True,
    "chooses_kernels": True,
}
ABSENT = "XLA compiles for it here, and jupyter-hwprune does not time a TPU yet"


def probe() -> dict[str, Any]:
    from importlib.metadata import version

    jax = _xla_program.start()
    versions = {"jax": jax.__version__, **{name: version(name) for name in ("libtpu", "torchax")}}
    absent = dict.fromkeys(_xla_cost.CHIPS, ABSENT)
    return {"versions": versions, "devices": {_host.architecture(): {"kind": "cpu"}}, "absent": absent}


TWO_COUNTS = (
    "A block-sparse kernel's cycles are counted in its bundles, a dense product's are XLA's own. Where nothing is "
    "skipped the two counts differ too, on some chips widely (benchmarks.tpu_estimator): the ratio is as uncertain."
)


class _Estimated:
    def __init__(self, model: str, chip: Chip, dense: tuple[str, ...]) -> None:
        import jax

        self.program = program = _xla_program.Program(model)
        self.taken = _xla_choice.take(program, chip, dense)
        compiled = _xla_choice.compiled(program.function, (program.states, program.inputs), chip)
        self.text = compiled.as_text()
        self.files: dict[str, str] = {}
        memory = compiled.memory_analysis()
        self.size_bytes = memory.argument_size_in_bytes - sum(each.nbytes for each in program.inputs)
        moved = sum(each.nbytes for each in jax.tree.leaves((program.states, program.inputs)))
        moved += memory.output_size_in_bytes
        self.estimate: Any = None
        with contextlib.suppress(RuntimeError):  # the text's format changed: the program is compiled all the same
            self.estimate = _xla_cost.estimate(
                self.text, _xla_program.SCOPE, program.weight_bytes, moved, chip, _xla_choice.known_cycles()
            )
            _xla_choice.tell(self.estimate, program, self.taken, chip)

    @property
    def sparse(self) -> list[str]:
        """The layers that skip zeros."""
        return [each.layer for each in self.taken if each.form is not None and each.form.sparse]

    @property
    def remarks(self) -> list[str]:
        kernels = any(each.form and each.form.kernels for each in self.taken)
        return [TWO_COUNTS] if kernels else []

    def write(self, path: str) -> None:
        self.files = {"hlo": _write(path + ".hlo.txt", self.text)}
        names = [kernel.name for each in self.taken if each.form for kernel in each.form.kernels]
        bundles = [found for name in dict.fromkeys(names) if (found := _xla_bundles.text_of(name)) is not None]
        if bundles:
            self.files["bundles"] = _write(path + ".bundles.txt", "\n".join(bundles))


def _write(path: str, text: str) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def compile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _Estimated | _xla_host.Compiled:
    path = os.path.join(folder, os.path.basename(model))
    if settings["device"] == _host.architecture():
        return _xla_host.Compiled(model, settings["threads"], path + ".hlo.txt")
    _xla_program.start()
    _xla_bundles.start()
    best = _best(model, _xla_cost.CHIPS[settings["device"]])
    best.write(path)
    return best


def _best(model: str, chip: Chip) -> _Estimated:
    """Return the program with the lowest estimate: each kind of layer in the forms that are best alone, or dense.

    A kernel keeps XLA from fusing what stands beside it, and asks for another layout, so it may cost the program more
    than it saves its layer.
    """
    tried: list[_Estimated] = []
    for dense in ((), (_xla_program.CONVOLUTION,), (_xla_program.CONVOLUTION, _xla_program.LINEAR)):
        if not tried or tried[-1].sparse:
            own = _Estimated(model, chip, dense)
            tried += [own] if not tried or own.sparse != tried[-1].sparse else []
    return min(tried, key=lambda each: each.estimate["total"] if each.estimate else float("inf"))


def load(artefact: _xla_host.Compiled, inputs: dict[str, Any], settings: Settings) -> _xla_host.Running:
    return _xla_host.Running(artefact, inputs)


def profile(model: str, inputs: dict[str, Any], settings: Settings, folder: str) -> _xla_host.Profile:
    path = os.path.join(folder, os.path.basename(model) + ".hlo.txt")
    return _xla_host.Profile(_xla_host.Compiled(model, settings["threads"], path), inputs)


def interpret(artefact: _Estimated, inputs: dict[str, Any], settings: Settings) -> list[Any]:
    """Compute the outputs on this host's CPU, by the operators that the TPU's program was compiled from."""
    jax = _xla_program.start()
    program = artefact.program
    with _xla_blocks.interpreted():
        outputs = jax.jit(program.function)(program.states, program.inputs)
    return _xla_program.as_floats(outputs)
