"""What to do after a report was read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class NextStep:
    """`what` it is for, and the `line` to run: a magic's, whole with its cell, or Python on the kept `run`."""

    what: str
    line: str
