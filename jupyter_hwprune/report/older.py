"""Read reports of version 4, which had one kind of measurement."""

from typing import Any

OLDER_VERSION = 4


def converted(data: dict[str, Any]) -> dict[str, Any]:
    """Return a report of version 4 as the next version has it; parts of a wrong type stay as they are."""
    new = data | {"footprint": None}
    found, request, layers = (data.get(name) for name in ("measurement", "request", "layers"))
    if isinstance(found, dict):
        timed = found.get("dense_ms") is not None
        new["measurement"] = (
            found | {"kind": "timed"} if timed else {"kind": "untimed", "evidence": found.get("evidence")}
        )
    if isinstance(request, dict):
        on_host = request.get("device") == "CPU"
        new["request"] = request | {"on_host": on_host, "takes_dtype": not on_host}
    if isinstance(layers, list):
        new["layers"] = [_with_evidence(layer) if isinstance(layer, dict) else layer for layer in layers]
    return new


def _with_evidence(layer: dict[str, Any]) -> dict[str, Any]:
    seen = any(layer.get(name) is not None for name in ("kernel", "pruned_kernel", "dense_us", "pruned_us"))
    return layer | {"evidence": "measured" if seen else None, "estimate": None}
