"""The tables of `benchmarks.channels`, from its data alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.masks import cpu_name

FRACTIONS = (0.5, 0.33)  # of the dense latency
STAGES = {
    "before": "one-shot",
    "statistics": "one-shot, BatchNorm's statistics anew",
    "short": "short tuning",
    "long": "long tuning",
}
PACKAGES = ("jupyter-hwprune", "torch", "onnxruntime", "scikit-learn")

Readings = dict[str, dict[tuple[float, str], list[float | None]]]


def shown(data: dict[str, Any]) -> str:
    return "\n".join([where(data), *tables(data), "", *errors(data)]).rstrip()


def readings(data: dict[str, Any]) -> Readings:
    """Return for each contestant and (fraction, stage) an accuracy a seed; None where no cut was so fast."""
    names = dict.fromkeys(each["who"] for seed in data["seeds"] for each in seed["cuts"])
    return {
        who: {
            (fraction, stage): [
                next((c[stage] for c in seed["cuts"] if c["who"] == who and c["fraction"] == fraction), None)
                for seed in data["seeds"]
            ]
            for fraction in FRACTIONS
            for stage in STAGES
        }
        for who in names
    }


def tables(data: dict[str, Any]) -> Iterator[str]:
    read = readings(data)
    peers = {who: found for who, found in read.items() if who.startswith("torch-pruning")}
    for fraction in FRACTIONS:
        yield ""
        yield f"| at {fraction:g} of the latency | " + " | ".join(STAGES.values()) + " |"
        yield "|---" * (len(STAGES) + 1) + "|"
        for who, found in read.items():
            yield f"| {who} | " + " | ".join(spread(found[fraction, stage]) for stage in STAGES) + " |"
    if not peers:
        return
    yield ""
    yield "Ours minus torch-pruning, seed by seed: the mean in points, its bootstrap 95 % interval, and the verdict."
    for fraction in FRACTIONS:
        for stage, said in STAGES.items():
            yield ""
            yield f"| {said}, {fraction:g} | " + " | ".join(who.removeprefix("torch-pruning: ") for who in peers) + " |"
            yield "|---" * (len(peers) + 1) + "|"
            for who, found in read.items():
                if who not in peers:
                    cells = [difference(found[fraction, stage], other[fraction, stage]) for other in peers.values()]
                    yield f"| {who} | " + " | ".join(cells) + " |"


def spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "never so fast"
    missing = f", {len(values) - len(known)} never so fast" if len(known) < len(values) else ""
    return f"{statistics.mean(known):.3f} ({min(known):.3f} to {max(known):.3f}{missing})"


def difference(own: list[float | None], other: list[float | None]) -> str:
    pairs = [100 * (a - b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
    if not pairs:
        return "not compared"
    draws = np.random.default_rng(0).choice(pairs, (10_000, len(pairs))).mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    verdict = "won" if low > 0 else "lost" if high < 0 else "even"
    return f"{statistics.mean(pairs):+.1f} ({low:+.1f} to {high:+.1f}) {verdict}"


def provenance(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "versions": {name: version(name) for name in PACKAGES} | {"torch-pruning": seeds[0]["peer"]},
    }


def where(data: dict[str, Any]) -> str:
    dense = spread([seed["dense"] for seed in data["seeds"]])
    versions = ", ".join(f"{name} {said}" for name, said in data["versions"].items() if said)
    return (
        f"{data['cpu']}, one thread, batch {data['batch']}, {data['created']}, {data['minutes']} minutes; "
        f"{versions}.\n\n"
        f"{data['task']} {len(data['seeds'])} seeds. Dense accuracy {dense}: mean (least to most). Each contestant at "
        f"ratios {', '.join(f'{ratio:g}' for ratio in data['ratios'])}, channels in multiples of {data['multiple']}; "
        'the search asks for the latency itself. "Sensitivity" pays in multiplications: it is a plan for a budget of '
        "FLOPs. Of each contestant the slowest cut within the fraction of the measured latency counts."
    )


def errors(data: dict[str, Any]) -> Iterator[str]:
    for number, seed in enumerate(data["seeds"]):
        for name, error in seed["failures"].items():
            yield f"- seed {number}, torch-pruning: {name}: {error}"
