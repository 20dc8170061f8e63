"""Compare the zeros that a recipe asks for with those that SparseML made."""

from __future__ import annotations

from typing import Any

from ._recipe_rules import CALIBRATED, RefusedError, removed_by


def recount(torch: Any, parameters: Any, before: Any, asked: Any) -> dict[str, dict[str, Any]]:
    """Count the zeros of every parameter that was to get some, or did."""
    params = {}
    for name, parameter in parameters.items():
        zeros = [int(each.numel() - each.count_nonzero()) for each in (before[name], parameter)]
        if name in asked or zeros[1] > zeros[0] or not torch.equal(before[name], parameter):
            share, mask = asked.get(name, (None, "unstructured"))
            params[name] = {
                "size": parameter.numel(),
                "columns": parameter.shape[1] if parameter.ndim > 1 else 1,
                "before": zeros[0],
                "after": zeros[1],
                "asked": share,
                "mask": mask,
            }
    return params


def hold_against(params: dict[str, dict[str, Any]], together: list[list[str]]) -> None:
    """Refuse a result with fewer zeros than the recipe asked for, whatever the reason."""
    ranked_together = {name for names in together for name in names}
    short = []
    for name, found in params.items():
        share, asked = found["after"] / found["size"], found["asked"]
        if asked is None or name in ranked_together:
            continue
        if share < asked - _grain(found) or not share:
            short.append((name, share, asked))
    for names in together:
        size, after = (sum(params[name][key] for name in names) for key in ("size", "after"))
        asked = sum(params[name]["asked"] * params[name]["size"] for name in names) / size
        if after / size < asked - 0.01:
            short.append((names[0] + " and the others it is ranked with", after / size, asked))
    if short:
        said = "; ".join(f"{name} has {share:.1%} instead of {asked:.1%}" for name, share, asked in short[:6])
        raise RefusedError(
            f"SparseML ran the recipe and made fewer zeros than it asks for: {said}. Leave these layers out of the "
            "recipe, or ask for a sparsity that they can reach."
        )


def _grain(found: dict[str, Any]) -> float:
    """Return how far rounding may miss the share: one block of the mask, or one weight in each row."""
    block = 1
    for side in found["mask"].split("x") if "x" in found["mask"] else ():
        block *= int(side)
    return float(max(block / found["size"], 1 / max(1, found["columns"]))) + 1e-9


def more_than_asked(params: dict[str, dict[str, Any]], together: list[list[str]]) -> list[str]:
    """Name parameters with far more zeros than asked for: SparseGPT drops inputs that are zero in all calibration."""
    more = []
    for name, found in params.items():
        share, alone = found["after"] / found["size"], not any(name in names for names in together)
        if alone and found["asked"] is not None and not found["before"] and share > found["asked"] + 0.1:
            more.append(f"{name} ({share:.0%})")
    return [f"More zeros than asked for: {', '.join(more[:4])}."] if more else []


def mask_of(modifier: str, mask: Any) -> str:
    """Write a mask in the notation of hwprune's patterns; n:m is n kept of m there."""
    if removed_by(modifier, mask) is not None:
        n, m = (2, 4) if mask == "tensorrt" else map(int, str(mask).split(":"))
        return f"{m - n if modifier in CALIBRATED else n}:{m}"
    if mask == "block4":
        return "1x4"
    return "x".join(map(str, mask)) if isinstance(mask, list) else "unstructured"
