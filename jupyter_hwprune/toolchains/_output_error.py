"""How far a model's outputs are from those that were expected, and how int8 is kept within a limit of it."""

from __future__ import annotations

from typing import Any

HELD_BACK = 4  # one of so many batches


def relative_errors(outputs: list[Any], expected: list[Any]) -> list[float]:
    """Return each output's largest difference relative to its largest magnitude; 1e30 for NaN, which JSON lacks."""
    if len(outputs) != len(expected):
        return [1e30] * max(1, len(expected))
    return [relative_error(output, want) for output, want in zip(outputs, expected)]


def relative_error(output: Any, want: Any) -> float:
    import numpy as np

    if output.shape != want.shape:
        return 1e30
    if not want.size:
        return 0.0
    error = float(np.abs(output.astype("float64") - want).max()) / max(float(np.abs(want).max()), 1e-30)
    return min(1e30, error)  # in this order, min turns NaN into 1e30 too


def held_back(batches: Any) -> int:
    """Return how many of the last calibration batches are left out of the ranges, to check the int8 model on."""
    return max(1, len(batches) // HELD_BACK) if len(batches) > 1 else 0


def in_two(batches: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the batches to record ranges from, and those to check on; a batch that is alone does both."""
    last = held_back(batches)
    return (batches[:-last], batches[-last:]) if last else (batches, batches)


def moved(before: float, after: float, most: float) -> str:
    """Return why layers were left in float: how far the outputs are from those in float, with and without."""
    return f"int8 moved the outputs by {before:.2g} with it, above --int8-error {most:g}, and by {after:.2g} without"


def kept_within(before: float, after: float, most: float, checked: list[Any]) -> str:
    """Return what the limit led to, as a part of the quantiser's description."""
    on = "%d batches that were held back" % len(checked) if len(checked) > 1 else "one batch"
    said = f", outputs moved by {before:.2g} on {on}"
    if before > most:
        said += f", and by {after:.2g} with the layers below left in float"
    return said + (f": no choice of layers reaches --int8-error {most:g}" if after > most else "")
