"""What to do after the advice: the next line to run, and where nothing pays, what may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...choose.choice import INT8, Choice
from ...core.options import magic_line
from ...core.pattern import NM, Depth, parse_pattern
from ...toolchains import shipped
from .rows import Advised

BIGGER = (
    "Give each call more work: a larger --batch, or the model in its real size. A small one spends its time on what "
    "pruning does not remove."
)


def line_of(best: Advised, asked: Mapping[str, Any], calib: str | None) -> str:
    """Return the line that prunes as the row says; `calib` is the name of the calibration inputs."""
    more: dict[str, Any] = {"target": f"{best.target}:{best.toolchain}", "variable": "run"}
    pattern = None if best.pattern is None else parse_pattern(best.pattern)
    if pattern is not None:
        more |= {"pattern": pattern, "sparsity": None if isinstance(pattern, NM) else best.share}
    if best.int8:
        more["dtype"] = INT8
    return magic_line({**asked, **more, "calib": calib if best.int8 or isinstance(pattern, Depth) else None})


def needs_of(best: Advised, calib: str | None) -> tuple[str, ...]:
    """Say what the line still needs: without `calib`, the name of inputs, it quantises by the example."""
    if not best.int8 or calib is not None:
        return ()
    said = (
        "The next line runs as it is, but takes the ranges of int8 from the example alone. For a score that is worth "
    )
    return (said + "comparing, add --calib and inputs like those that the model will see, such as --calib train_x.",)


def would_pay(choices: Sequence[Choice], rows: Sequence[Advised], asked: Mapping[str, Any]) -> Iterator[str]:
    """Say what was not tried here and may pay, given that nothing that was tried does."""
    tried = {choice.judge.toolchain for choice in choices if choice.way is not None}
    for target in dict.fromkeys(choice.target for choice in choices):
        for judge in target.judges:
            if judge.toolchain in tried or judge.toolchain not in shipped() or judge.by_name is None:
                continue
            line = magic_line({**asked, "target": f"{target.name}:{judge.toolchain}"})
            offers = " and ".join(str(offer.pattern) for offer in judge.offers)
            yield (
                f"{judge.toolchain}, which has kernels for {offers} and is used only when named, since "
                f"{judge.by_name}: {line.replace('%hwprune', '%hwprune advise', 1)}"
            )
    if any(row.speed.speedup is not None for row in rows):
        yield BIGGER
