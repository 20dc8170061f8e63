"""One cut by torch-pruning, in its own interpreter: `python -m benchmarks.budget_peer FOLDER uniform|global RATIO`.

Reads dense.pt (the model and its input) and writes pruned.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch_pruning


def main(folder: Path, how: str, ratio: float) -> None:
    torch.set_num_threads(1)
    model, example = torch.load(folder / "dense.pt", weights_only=False)
    torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        global_pruning=how == "global",
        pruning_ratio=ratio,
        round_to=8,
        ignored_layers=[each for each in model.modules() if getattr(each, "out_features", None) == 1000],
    ).step()
    torch.save(model, folder / "pruned.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
