"""Binder's files, as Binder's own tool reads them; `python binder/check.py` installs them and runs the tutorials."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from jupyter_hwprune.toolchains import environments

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


@pytest.fixture(scope="module")
def dockerfile() -> str:
    """Say what repo2docker would build of this repository."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "repo2docker",
            "--no-build",
            "--debug",
            "--user-id",
            "1000",
            "--user-name",
            "jovyan",
            ".",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def test_binder_builds_a_python_of_the_packages_own_range(dockerfile: str) -> None:
    assert "Building conda environment for python=3.11" in dockerfile
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert Requirement(f"python{project['requires-python']}").specifier.contains("3.11")


def test_binder_installs_the_pins_before_it_copies_the_rest_and_runs_postbuild_after(dockerfile: str) -> None:
    steps = [
        "src/binder/requirements.txt",
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        " src/ ${REPO_DIR}/",
        "RUN ./binder/postBuild",
    ]
    found = [dockerfile.find(step) for step in steps]
    assert -1 not in found
    assert found == sorted(found)  # so that a change in the sources does not download torch again


def test_the_pins_are_those_that_are_tested_and_all_that_the_package_needs() -> None:
    pinned = pins(BINDER / "requirements.txt")
    tested = pins(ROOT / "constraints.txt")
    assert pinned == {name: tested[name] for name in pinned}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {Requirement(each).name for each in project["dependencies"]}
    assert needed <= set(pinned)
    assert "scikit-learn" in pinned  # the tutorials' data


def test_nothing_is_baked_in_whose_licence_is_the_users_to_accept() -> None:
    restricted = {name for name in environments.names() if environments.pins_of(name).licence is not None}
    assert restricted
    assert not restricted & set(pins(BINDER / "requirements.txt"))
    assert "accept-licence" not in (BINDER / "postBuild").read_text()


def test_postbuild_needs_no_node() -> None:
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    assert any("HWPRUNE_WITHOUT_LABEXTENSION=1" in line for line in commands)
    assert not re.search(r"\b(npm|node|npx)\b", "\n".join(commands))
    subprocess.run(["bash", "-n", script], check=True)
