"""Which layers a toolchain's sparse kernels can serve: 2:4 in the weights is half of it, the shape is the other half.

| toolchain  | layers                          | both weight dimensions a multiple of               |
|------------|---------------------------------|----------------------------------------------------|
| cusparselt | Linear                          | 16 in float16 and bfloat16, 32 in int8 and float8  |
| tensorrt   | Linear, Conv1d, Conv2d, Conv3d  | 2:4 along the input channels, no more is documented |

cuSPARSELt: https://docs.nvidia.com/cuda/cusparselt/functions.html (cusparseLtStructuredDescriptorInit), which torch
checks in `torch.sparse.SparseSemiStructuredTensorCUSPARSELT`. TensorRT: "Sparsity" in its developer guide.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ..choice import Choice
from ..pattern import NM, Pattern

CUSPARSELT_MULTIPLES = {"float16": 16, "bfloat16": 16, "int8": 32, "float8": 32}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
RULES = ("cusparselt", "tensorrt")


def fits_two_of_four(pattern: Pattern) -> bool:
    """Say whether weights that hold the pattern hold 2:4 as well."""
    return isinstance(pattern, NM) and (pattern == NM(2, 4) or (pattern.m == 4 and pattern.n < 2))


@dataclass(frozen=True)
class Sparse24:
    """The target's toolchains that may run 2:4 sparsely, each with whose rules it keeps; `judge` was chosen."""

    judge: str
    rules: dict[str, str]
    dtype: str

    @classmethod
    def of(cls, choice: Choice) -> Sparse24 | None:
        """Return the rules to hold layers against; None where none of the target's toolchains runs the pattern."""
        known = {stack.toolchain: stack.toolchain for stack in choice.target.stacks if stack.toolchain in RULES}
        if not known or choice.dtype is None or not fits_two_of_four(choice.pattern):
            return None
        judge = choice.stack.toolchain
        known.setdefault(judge, next(iter(known)))  # somebody else's module takes the place of the target's first
        return cls(judge, known, choice.dtype)

    def reason_not_served(self, layer: nn.Module, outputs: int, inputs: int) -> str | None:
        """Say why the judge has no sparse kernel for this layer, and who has; None where it has one."""
        reason = _reason(self.rules[self.judge], self.dtype, layer, outputs, inputs)
        if reason is None:
            return None
        others = [name for name in self.served_by(layer, outputs, inputs) if name != self.judge]
        return f"{reason}; {' and '.join(others)} may serve it" if others else reason

    def served_by(self, layer: nn.Module, outputs: int, inputs: int) -> tuple[str, ...]:
        rules = self.rules.items()
        return tuple(name for name, rule in rules if _reason(rule, self.dtype, layer, outputs, inputs) is None)


def _reason(toolchain: str, dtype: str, layer: nn.Module, outputs: int, inputs: int) -> str | None:
    if toolchain == "cusparselt":
        if not isinstance(layer, nn.Linear):
            return f"cuSPARSELt multiplies matrices and has no {type(layer).__name__}"
        multiple = CUSPARSELT_MULTIPLES[dtype]
        if outputs % multiple or inputs % multiple:
            return (
                f"cuSPARSELt in {dtype} takes multiples of {multiple}, and it has {outputs} outputs by {inputs} inputs"
            )
    if toolchain == "tensorrt":
        if not isinstance(layer, (nn.Linear, *CONVOLUTIONS)):
            return f"TensorRT runs no {type(layer).__name__} sparsely"
        if isinstance(layer, CONVOLUTIONS) and layer.groups > 1:
            return "TensorRT runs no grouped convolution sparsely"
    return None
