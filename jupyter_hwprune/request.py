"""What is asked of a worker, in one place: the contract's settings, and the cases as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .choice import Choice
from .kernels import Case
from .toolchains import toolchain_file
from .toolchains.process import CACHE

ANSWERS = {"rate": ["layers"], "prove": ["errors", "machine", "device", "versions"], "count": ["counted"]}


def request_for(
    action: str,
    choice: Choice,
    folder: Path,
    cases: Mapping[str, Case],
    *,
    layers: Sequence[str] = (),
    sparse: Sequence[str] = (),
    plans: Mapping[str, Any] | None = None,
    graphs: bool = True,
    **more: Any,
) -> dict[str, Any]:
    """Return the request; `layers` are all that the toolchain may run sparsely, `sparse` those of the pruned case.

    Without `graphs` all cases are started kernel by kernel, since one of them cannot be held by a graph.
    """
    first = next(iter(cases.values()))
    return {
        "action": action,
        "toolchain": str(toolchain_file(choice.stack.toolchain)),
        "folder": str(folder),
        "inputs": str(first.inputs),
        "input_names": first.input_names,
        "cases": [
            {
                "name": name,
                "model": str(case.model),
                "expected": str(case.expected),
                "sparse": list(sparse) if name == "pruned" else [],
            }
            for name, case in cases.items()
        ],
        "settings": {
            "threads": choice.threads,
            "device": choice.stack.device,
            "dtype": choice.dtype,
            "layers": list(layers),
            "plans": dict(plans or {}),
            "graphs": graphs,
            "cache": str(CACHE / f"{choice.stack.toolchain}.json"),
        },
        "keep_files_of": "pruned",
        "answer": ANSWERS[action],
        **more,
    }
