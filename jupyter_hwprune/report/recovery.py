"""What a recovery without labels did: the steps that it took, and what they brought."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recovered:
    """Training the pruned copy to reproduce the dense model's outputs on the calibration inputs, in its last step.

    The losses are those of the copy before and after on the first calibration inputs, and 0 for the dense model.
    `score_before` is the user's score of the pruned copy before it, None without one. `kept` is False if the loss did
    not fall, so that the weights stayed as they were.
    """

    steps: int
    rows: int
    first_loss: float
    last_loss: float
    seconds: float
    score_before: float | None = None
    kept: bool = True
