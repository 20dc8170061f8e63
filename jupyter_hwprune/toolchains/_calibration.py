"""The calibration inputs that lie in a job's folder: all batches of an input in one array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def batches(path: str) -> Iterator[tuple[Any, ...]]:
    """Return the values of all inputs, batch after batch."""
    import numpy as np

    with np.load(path) as file:
        return zip(*[file[key] for key in file.files])  # of each input [batches, ...]
