"""Read a model folder, a stub or an analysis with SparseZoo's own reader, in its environment.

SparseZoo unpacks archives next to the files that it reads, and its analysis writes a second model there. So the user's
folder is mirrored with links first, and SparseZoo writes to the mirror.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from typing import Any

CONNECT_S, READ_S = 10.0, 30.0  # SparseZoo itself would wait for its server for ever


def probe() -> dict[str, Any]:
    os.environ["NM_DISABLE_ANALYTICS"] = "1"  # before the import, which otherwise reports the machine
    os.environ["NM_VERSION_CHECK"] = "false"
    import onnx
    import sparsezoo.version

    return {"versions": {"sparsezoo": sparsezoo.version.__version__, "onnx": onnx.__version__}, "devices": {}}


def read(request: dict[str, Any], say: Any) -> dict[str, Any]:
    """Return what request["source"] holds; request["kind"] is "folder", "stub" or "analysis".

    On failure the answer has a `problem`, the message of SparseZoo or of a library that it uses.
    """
    answer = {"versions": probe()["versions"]}
    try:
        if request["kind"] != "analysis":
            return dict(answer, problem=None, **_open(request, say))
        say("zoo", "reading the analysis")
        return dict(answer, problem=None, rows=_rows_of_file(request["source"]))
    except Exception as error:  # noqa: BLE001 - a damaged folder or a dead server may raise anything
        return dict(answer, problem=_said(error))


def _open(request: dict[str, Any], say: Any) -> dict[str, Any]:
    from sparsezoo import Model
    from sparsezoo.model.utils import is_stub

    source = request["source"]
    if hasattr(tarfile, "data_filter"):  # an archive cannot write outside the folder that it is unpacked into
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    if request["kind"] == "stub":
        say("zoo", "asking SparseZoo's server for " + source)
        _wait_no_longer()
        if not is_stub(source):
            raise _UnfitError("this is not a stub in a form that SparseZoo knows")
    else:
        say("zoo", "opening " + source)
        source = _mirror(source, os.path.join(request["folder"], "zoo"))
    model = Model(source)
    path, taken = _onnx_file(model)
    outputs = {name: _samples(each) for name, each in (model.sample_outputs or {}).items()}
    say("zoo", "analysing " + taken)
    return {
        "model": os.path.realpath(path),
        "taken": taken,
        "inputs": _samples(model.sample_inputs),
        "outputs": {name: paths for name, paths in outputs.items() if paths},
        "recipes": [os.path.realpath(path) for each in model.recipes.recipes for path in _files(each.path)],
        "analysis": _analysis(path),
    }


def _wait_no_longer() -> None:
    """Give every request without a time limit one."""
    import requests

    send = requests.Session.send

    def bounded(self: Any, prepared: Any, **settings: Any) -> Any:
        settings["timeout"] = settings.get("timeout") or (CONNECT_S, READ_S)
        return send(self, prepared, **settings)

    setattr(requests.Session, "send", bounded)  # noqa: B010 - a method of a vendor's class


def _mirror(folder: str, mirror: str) -> str:
    """Mirror a folder with links to its files, so that nothing is written beside the files."""
    for where, _, files in os.walk(folder):
        there = os.path.join(mirror, os.path.relpath(where, folder))
        os.makedirs(there, exist_ok=True)
        for name in files:
            source, link = os.path.realpath(os.path.join(where, name)), os.path.join(there, name)
            try:
                os.symlink(source, link)
            except OSError:  # Windows lets only some users make links
                shutil.copyfile(source, link)
    return mirror


def _onnx_file(model: Any) -> tuple[str, str]:
    """Find the model's file: the one in deployment, which DeepSparse would open, or the one at the top."""
    if model.deployment is not None:
        path = os.path.join(model.deployment.path, "model.onnx")
        if os.path.isfile(path):
            return path, "deployment/model.onnx"
    if model.onnx_model is not None:
        return str(model.onnx_model.path), "model.onnx"
    raise _UnfitError("it holds no model.onnx, no deployment/model.onnx and no archive of them")


def _samples(directory: Any) -> list[str]:
    """Return the .npz files in a folder of samples, which may have been an archive."""
    return [] if directory is None else [path for path in _files(directory.path) if path.endswith(".npz")]


def _files(path: str) -> list[str]:
    return sorted(os.path.join(path, name) for name in os.listdir(path)) if os.path.isdir(path) else [path]


def _analysis(path: str) -> dict[str, Any]:
    """Return SparseZoo's counts for each node with a weight, or why it could not count."""
    from sparsezoo.analyze_v1 import ModelAnalysis

    try:
        nodes = ModelAnalysis.from_onnx(path).model_dump()["nodes"]
    except Exception as error:  # noqa: BLE001 - it knows fewer graphs than ONNX Runtime; the answer says so
        return {"rows": [], "problem": _said(error)}
    return {"rows": _rows(nodes), "problem": None}


def _rows_of_file(path: str) -> list[dict[str, Any]]:
    import yaml

    with open(path, encoding="utf-8") as file:
        data = yaml.safe_load(file)
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(nodes, (list, dict)):
        raise _UnfitError(
            "it holds no list of nodes, which ModelAnalysis.yaml() or sparsezoo.analyze --save would have written"
        )
    rows = _rows(nodes) if isinstance(nodes, list) else _rows_of_cli(nodes)
    if not rows:
        raise _UnfitError("none of its nodes has a weight")
    return rows


def _rows(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read the nodes of a ModelAnalysis, from its object or its YAML."""
    rows = []
    for node in nodes:
        for weight in node["parameters"]:
            if weight["alias"] == "weight" and weight["parameter_summary"]["total"]:
                counts = weight["parameter_summary"]["total"], weight["parameter_summary"]["pruned"]
                macs = int(node["operation_summary"]["macs"]["total"])
                rows.append(_row(node, node["node_id"], weight["shape"], counts, node["quantized_node"], macs))
    return rows


def _row(
    node: dict[str, Any], value: Any, shape: list[Any], counts: tuple[Any, Any], quantised: Any, macs: int | None
) -> dict[str, Any]:
    return {
        "node": str(node["name"]),
        "op": str(node["op_type"]),
        "shape": [int(side) for side in shape],
        "weights": int(counts[0]),
        "zeros": int(counts[1]),
        "quantised": bool(quantised),
        "value": str(value),
        "macs": macs,
    }


def _rows_of_cli(nodes: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the nodes that the command line's analysis writes: counts without shapes, and bit widths."""
    rows = []
    for value, node in nodes.items():
        counts = {each["grouping"]: each for each in node["params"]["sparsity"]}["single"]
        bits = {each["grouping"]: each for each in node["params"]["quantization"]}
        total = counts["counts"]
        if total:
            quantised = bits["tensor"]["counts_quant"] > 0
            rows.append(_row(node, value, [total], (total, counts["counts_sparse"]), quantised, None))
    return rows


class _UnfitError(Exception):
    """The source is not what it should be; the message is for the user."""


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, _UnfitError) else f"{type(error).__name__}: {text}"
