"""Notebooks and report files for the pages to open."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import torch

from jupyter_hwprune import hwprune
from jupyter_hwprune.report import MIME_TYPE, Comparison, Layer, Report, Verdict
from tests import networks, reports

from .server import ROOT

SETUP = """import torch
from tests.networks import cnn
net, x = cnn(), torch.randn(2, 3, 16, 16)
%load_ext jupyter_hwprune"""
# a toolchain of the tests' own, which hangs in one phase until it is killed
HANG = """import os
os.environ.update(HWPRUNE_FAULT="check:hang", HWPRUNE_PID_FILE=os.path.abspath("worker.pid"))"""
PRUNE_AND_HANG = "%hwprune net --input x --target cpu --toolchain tests.fakes.faulty"
PRUNE = "%hwprune net --input x --target cpu --toolchain onnxruntime"


def code(source: str, *bundles: dict[str, Any]) -> dict[str, Any]:
    """Return a cell; with bundles, one that has run and shown them."""
    outputs = [{"output_type": "display_data", "data": bundle, "metadata": {}} for bundle in bundles]
    count = 1 if bundles else None
    return {
        "cell_type": "code",
        "source": source,
        "outputs": outputs,
        "metadata": {},
        "execution_count": count,
    }


def write(folder: Path, name: str, *cells: dict[str, Any], kernel: str = "python3", **metadata: Any) -> str:
    """Write a notebook and return its path as the server knows it."""
    numbered = [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)]
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook = {"cells": numbered, "metadata": {"kernelspec": spec, **metadata}, "nbformat": 4, "nbformat_minor": 5}
    (folder / name).write_text(json.dumps(notebook))
    return name


def outputs(path: Path) -> list[dict[str, Any]]:
    """Return the data of all outputs that a notebook was saved with."""
    cells = json.loads(path.read_text())["cells"]
    return [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]


def sources(path: Path) -> list[str]:
    """Return the texts of all cells that a notebook was saved with."""
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def metadata(path: Path) -> dict[str, Any]:
    """Return the metadata that a notebook was saved with."""
    found: dict[str, Any] = json.loads(path.read_text())["metadata"]
    return found


@functools.cache
def small() -> Report:
    """Return the report of a real run, made once."""
    torch.manual_seed(0)
    run = hwprune(networks.cnn(), torch.randn(2, 3, 16, 16), target="cpu", toolchain="onnxruntime", name="net")
    return run.report


def large(layers: int = 168, side: int = 256) -> Report:
    torch.manual_seed(0)
    return reports.report(tuple(reports.layer(f"model.layers.{i}.mlp.up_proj", side, side) for i in range(layers)))


def kinds() -> dict[str, Report]:
    """Return a report of each kind that there is: of int8 models, a search, a training in steps, a GPU, an estimate."""
    cases = json.loads((ROOT / "labextension" / "test" / "view" / "cases.json").read_text())
    return {name: Report.from_json(json.dumps(case)) for name, case in cases.items()}


@functools.cache
def varied() -> Report:
    """Return a report of a dozen layers, each another in all that the table can sort by."""
    torch.manual_seed(0)
    layers = [reports.layer(f"layer.{i}", 8 * (i + 1), 16) for i in range(12)]
    return reports.report(tuple(differing(layer, i) for i, layer in enumerate(layers)))


def differing(layer: Layer, i: int) -> Layer:
    verdict: Verdict = ("faster", "slower", "no measurable gain")[i % 3]
    speedup = {"faster": 1.5, "slower": 0.5, "no measurable gain": 1.0}[verdict] + i / 1000
    return dataclasses.replace(
        layer,
        sparsity=0.3 + (i * 5 % 12) / 100,
        dense_us=100.0 + (i * 7 % 12),
        speed=Comparison(speedup, speedup - 0.1, speedup + 0.1, 0.03, verdict),
    )


def plain_data(report: Report) -> dict[str, Any]:
    """Return the report's JSON as a dict to spoil."""
    data: dict[str, Any] = json.loads(report.to_json())
    return data


def only_json(data: Any) -> dict[str, Any]:
    """Return a bundle that has no form but ours and a line of text."""
    return {MIME_TYPE: data, "text/plain": "the report as text"}
