"""Imports run one way: a module may use only what stands before it in this order."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jupyter_hwprune"
ORDER = (
    ("core",),
    ("report",),
    ("mistakes",),
    ("toolchains",),
    ("choose",),
    ("pruning",),
    ("export",),
    ("measure", "recipe"),
    ("search",),
    ("reporting",),
    ("render",),
    ("keep",),
    ("survey", "flow", "modelzoo", "checkpoint"),
    ("notebook",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
HEAVY = {"torch", "numpy", "matplotlib", "onnx", "onnxruntime", "openvino", "torch_pruning", "PIL"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The package's own rooms that a file imports, anywhere but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    depth = len(path.relative_to(PACKAGE).parts)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == depth and node not in typing_only:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found & set(RANK)


FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_every_room_of_the_package_has_its_place_in_the_order() -> None:
    assert {room(path) for path in FILES} == set(RANK)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_with_the_flow(path: Path) -> None:
    own = RANK[room(path)]
    upward = {other for other in imported_rooms(path) if RANK[other] >= own and other != room(path)}
    assert not upward, f"{path.name} stands at {room(path)} and imports {upward}, which comes later in the flow"


@pytest.mark.parametrize(
    "name",
    [
        "__init__",
        "core/errors",
        "core/options",
        "core/pattern",
        "report/__init__",
        "report/layers",
        "report/measurement",
        "report/report",
        "core/target",
        "choose/choice",
        "notebook/lab",
        "notebook/magics",
    ],
)
def test_light_modules_import_nothing_heavy_at_the_top(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    top = {
        alias.name.split(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in (
            [ast.alias(node.module or "")] if isinstance(node, ast.ImportFrom) and not node.level else node.names
        )
    }
    assert not top & HEAVY


@pytest.mark.parametrize("name", ["notebook", "survey", "measure", "choose", "core", "export", "reporting"])
def test_no_files_of_a_room_import_each_other_in_a_circle(name: str) -> None:
    def siblings(path: Path) -> set[str]:
        found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        own = [node for node in found if node.level == 1]
        return {name for node in own for name in ([node.module] if node.module else [a.name for a in node.names])}

    TopologicalSorter({path.stem: siblings(path) for path in (PACKAGE / name).glob("*.py")}).prepare()
