"""torch-pruning's own cuts of a trained network, in its own interpreter: `... channels_peer FOLDER MODULE`.

MODULE has the network.
Reads dense.pt (a state dict), calib.pt (images, labels) and ratios.json; writes a state dict of each cut, or its error.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import torch
import torch_pruning
from torch.nn import functional

IMPORTANCES = {"magnitude": "GroupMagnitudeImportance", "taylor": "GroupTaylorImportance"}


def main(folder: Path, module: str) -> None:
    of_state = importlib.import_module(module).of_state
    torch.set_num_threads(1)
    dense = torch.load(folder / "dense.pt")
    images, labels = torch.load(folder / "calib.pt")
    errors = {}
    for importance, kind in IMPORTANCES.items():
        for together in (False, True):
            for ratio in json.loads((folder / "ratios.json").read_text()):
                name = f"{importance}, {'global' if together else 'uniform'}, {ratio}"
                net = of_state(dense)
                functional.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
                try:
                    torch_pruning.pruner.BasePruner(
                        net,
                        images[:2],
                        importance=getattr(torch_pruning.importance, kind)(),
                        global_pruning=together,
                        pruning_ratio=ratio,
                        round_to=8,
                        ignored_layers=[net.head],
                    ).step()
                    torch.save(
                        {key: tensor.detach().clone() for key, tensor in net.state_dict().items()},
                        folder / f"{name}.pt",
                    )
                except Exception as error:  # noqa: BLE001 - whatever it stumbles over is its result
                    errors[name] = f"{type(error).__name__}: {error}"
    (folder / "errors.json").write_text(json.dumps({"version": torch_pruning.__version__, "errors": errors}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
