"""The toolchain beside it that estimates, for a chip that skips zeros in large weights alone: its estimates decide."""

from __future__ import annotations

import math
from typing import Any

from . import estimating

MANIFEST = {
    "install": "no command installs it",
    "runs": False,
    "cross_compiles": True,
    "estimates": "a made-up cost model",
    "checks": True,
    "settles": True,
}
LARGE = 1000  # weights
probe, interpret = estimating.probe, estimating.interpret


class Artefact(estimating.Artefact):
    def cost(self, weight: Any) -> float:
        return super().cost(weight) if weight.size >= LARGE else 2.0 * math.prod(weight.shape)


def compile(model: str, inputs: dict[str, Any], settings: dict[str, Any], folder: str) -> Artefact:
    return Artefact(model, folder)
