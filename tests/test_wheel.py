"""What the build lays into a wheel: the extension once, where JupyterLab looks, and Node only where it is needed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import jupyter_hwprune

ROOT = Path(__file__).parent.parent
SOURCES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "labextension/install.json")
SHARED = f"jupyter_hwprune-{jupyter_hwprune.__version__}.data/data/share/jupyter/labextensions/jupyter-hwprune"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return what a build reads, with the files of the package that importing it loads."""
    tree = tmp_path / "sources"
    for name in (*SOURCES, *(f"jupyter_hwprune/{own}.py" for own in ("__init__", "core/__init__", "core/errors"))):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    return tree


def built_before(sources: Path) -> None:
    (sources / "jupyter_hwprune" / "labextension" / "static").mkdir(parents=True)
    for name in ("package.json", "static/remoteEntry.js"):
        (sources / "jupyter_hwprune" / "labextension" / name).write_text("{}")


def build(sources: Path, kind: str = "standard", **environment: str) -> subprocess.CompletedProcess[str]:
    """Make a wheel in `dist` with an empty PATH, so without Node."""
    code = (
        "from hatchling.builders.wheel import WheelBuilder;"
        f"print(*WheelBuilder('.').build(directory='dist', versions=[{kind!r}]))"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HWPRUNE_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=sources,
        env={**clean, "PATH": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def names(sources: Path) -> list[str]:
    (wheel,) = (sources / "dist").glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_a_wheel_of_an_sdist_has_the_extension_once_and_needs_no_node(sources: Path) -> None:
    built_before(sources)
    version = jupyter_hwprune.__version__
    (sources / "PKG-INFO").write_text(f"Metadata-Version: 2.4\nName: jupyter-hwprune\nVersion: {version}\n")
    done = build(sources)
    assert done.returncode == 0, done.stderr
    assert sorted(name for name in names(sources) if "labextension" in name) == [
        f"{SHARED}/install.json",
        f"{SHARED}/package.json",
        f"{SHARED}/static/remoteEntry.js",
    ]


def test_without_node_a_clone_with_an_old_build_is_refused_in_one_paragraph_with_both_cures(sources: Path) -> None:
    built_before(sources)
    done = build(sources)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "install Node" in done.stderr
    assert "HWPRUNE_WITHOUT_LABEXTENSION=1" in done.stderr


def test_the_switch_builds_a_wheel_without_the_extension(sources: Path) -> None:
    built_before(sources)
    done = build(sources, HWPRUNE_WITHOUT_LABEXTENSION="1")
    assert done.returncode == 0, done.stderr
    assert "jupyter_hwprune/__init__.py" in names(sources)
    assert not [name for name in names(sources) if "labextension" in name]


def test_an_editable_install_needs_neither_node_nor_the_switch(sources: Path) -> None:
    done = build(sources, kind="editable")
    assert done.returncode == 0, done.stderr
    assert not [name for name in names(sources) if "labextension" in name]


def test_make_lab_links_the_working_trees_build_into_the_environment(sources: Path, tmp_path: Path) -> None:
    built_before(sources)
    tools = Path(sys.executable).parent
    shown = subprocess.check_output(["make", "--dry-run", "lab", f"BIN={tools}"], cwd=ROOT, text=True)
    (link,) = (line for line in shown.splitlines() if " develop " in line)
    option = "--DevelopLabExtensionApp"
    elsewhere = (f"{option}.labextensions_dir={tmp_path}", f"{option}.sys_prefix=False")
    own = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": str(sources)}
    subprocess.run([*shlex.split(link), *elsewhere], cwd=sources, env=own, check=True)
    assert (tmp_path / "jupyter-hwprune").resolve() == sources / "jupyter_hwprune" / "labextension"


def test_the_extension_has_the_version_of_the_package() -> None:
    package = json.loads((ROOT / "labextension" / "package.json").read_text(encoding="utf-8"))
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text(encoding="utf-8"))
    assert package["version"] == lock["version"] == lock["packages"][""]["version"] == jupyter_hwprune.__version__


def test_the_lock_file_holds_no_address_to_fetch_from() -> None:
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text(encoding="utf-8"))
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
