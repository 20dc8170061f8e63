"""A named mistake, and what a model came with that leads to one."""

from dataclasses import dataclass
from typing import Literal

CLIFF_CODE = "HWP112"
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Mistake:
    """A mistake under its stable code: `what` was found and in which `layers`, `why` it costs, and the `fix`.

    An "error" makes the pruning useless on this chip, a "warning" takes part of the gain, a "note" limits what the
    report shows. `line` is one to copy, if there is one.
    """

    code: str
    title: str
    severity: Severity
    what: str
    why: str
    fix: str
    layers: tuple[str, ...] = ()
    line: str | None = None


@dataclass(frozen=True)
class Arrived:
    """What the user's model came with: weights that masks multiply before each pass, and `across`.

    The masks are those of torch.nn.utils.prune, or `parametrized`, as torch.ao.pruning's. `across` are layers whose
    zeros are 2:4 along their outputs and not along their inputs, where kernels look for them.
    """

    masked: tuple[str, ...] = ()
    parametrized: tuple[str, ...] = ()
    across: tuple[str, ...] = ()
