"""What a training in steps did: how much was gone at each, how long it trained, and the score after it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainedStep:
    """One pruning step and the training after it.

    `share` of the dense model was gone, `seconds` were spent in the training, and `score` is the user's after it, None
    without one.
    """

    share: float
    seconds: float
    score: float | None = None
