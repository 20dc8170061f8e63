"""Environments of their own: whole or not at all, once, listed and removed; by the shell and by the magic."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jupyter_hwprune import doctor, hwprune, setup
from jupyter_hwprune.core.errors import InputError, ToolchainError
from jupyter_hwprune.toolchains import environments, making, probe
from tests.networks import ZOO

ROOT = Path(__file__).parents[1]
KILLS = 20


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of environments."""
    folder = tmp_path / "environments"
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def tiny(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pins of one small package, so that an environment takes seconds."""
    pins = tmp_path / "requirements"
    pins.mkdir()
    (pins / "tiny.txt").write_text("# about: one small package\n# python: >=3.8\nsix==1.17.0\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", pins)
    return home


def imports(module: str) -> making.Check:
    """Make a check that imports a module with the environment's own interpreter."""

    def check(interpreter: Path) -> str | None:
        done = subprocess.run(
            [interpreter, "-I", "-c", f"import {module}"], capture_output=True, text=True, check=False
        )
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]

    return check


def quiet(_phase: str, _detail: str) -> None:
    """Say nothing."""


def in_shell(*words: str, home: Path, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jupyter_hwprune", *words]
    own = os.environ | {environments.FOLDER_VARIABLE: str(home)}
    return subprocess.Popen(
        command, cwd=ROOT, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


def test_a_licence_that_restricts_use_is_shown_first_and_nothing_is_made(home: Path) -> None:
    with pytest.raises(InputError, match=r"evaluation.*no production use.*--accept-licence"):
        setup("deepsparse")
    assert not list(home.glob("deepsparse-*"))
    assert environments.find("deepsparse") is None


@pytest.mark.parametrize("name", ["openvino", "nonsense"])
def test_a_name_without_an_environment_is_refused_with_those_that_have_one(name: str, home: Path) -> None:
    with pytest.raises(InputError, match=rf"'{name}' has no environment.*deepsparse.*sparseml, sparsezoo"):
        setup(name)


def test_an_environment_is_made_listed_found_again_and_removed(tiny: Path) -> None:
    said: list[str] = []
    made = making.make("tiny", imports("six"), lambda phase, detail: said.append(f"{phase}: {detail}"))
    assert made.packages["six"] == "1.17.0"
    assert made.size_bytes > 0
    assert any("package 1 of 1" in line for line in said)
    assert environments.find("tiny") == made
    again = making.make("tiny", imports("six"), quiet)
    assert again == made
    assert [path.name for path in tiny.glob("tiny-*")] == [Path(made.folder).name]
    assert "ready" in str(setup())
    setup("tiny", remove_it=True)
    assert not list(tiny.glob("tiny-*"))
    with pytest.raises(InputError, match="no environment of tiny to remove"):
        setup("tiny", remove_it=True)


def test_other_pins_make_it_outdated_and_the_next_setup_replaces_it(tiny: Path, tmp_path: Path) -> None:
    old = making.make("tiny", imports("six"), quiet)
    pins = tmp_path / "requirements" / "tiny.txt"
    pins.write_text(pins.read_text().replace("1.17.0", "1.16.0"))
    assert "other versions" in (environments.obstacle("tiny", environments.find("tiny")) or "")
    new = making.make("tiny", imports("six"), quiet)
    assert new.packages["six"] == "1.16.0"
    assert not Path(old.folder).exists()


def test_one_that_no_longer_works_is_made_again(tiny: Path) -> None:
    made = making.make("tiny", imports("six"), quiet)
    next(Path(made.folder).rglob("six.py")).unlink()
    again = making.make("tiny", imports("six"), quiet)
    assert again.folder != made.folder
    assert imports("six")(Path(again.interpreter)) is None


@pytest.mark.parametrize("wrong", ["no-such-package==1.0", "six==0.0.1"])
def test_an_installation_that_fails_leaves_nothing_and_says_its_last_words(
    wrong: str, tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "requirements" / "tiny.txt").write_text(f"# about: x\n# python: >=3.8\n{wrong}\n")
    with pytest.raises(ToolchainError, match=rf"last output: .*{wrong.partition('=')[0]}.*run %hwprune setup tiny"):
        making.make("tiny", imports("six"), quiet)
    assert not list(tiny.glob("tiny-*"))
    assert environments.find("tiny") is None


def test_what_was_installed_and_does_not_work_is_not_kept(tiny: Path) -> None:
    with pytest.raises(ToolchainError, match=r"was installed but does not work: .*No module named 'seven'"):
        making.make("tiny", imports("seven"), quiet)
    assert not list(tiny.glob("tiny-*"))


def test_a_python_that_will_not_do_is_refused_and_one_that_is_nowhere_has_its_cure(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"--python /nowhere/python is no Python at all"):
        making.make("tiny", imports("six"), quiet, python="/nowhere/python")
    (tmp_path / "requirements" / "tiny.txt").write_text("# about: x\n# python: >=3.8,<3.9\nsix==1.17.0\n")
    with pytest.raises(InputError, match=rf"--python {sys.executable} is 3\..* needs Python >=3\.8,<3\.9"):
        making.make("tiny", imports("six"), quiet, python=sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no Python
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(InputError, match=r"none was found here, and none could be downloaded \(.+\).*--python"):
        making.make("tiny", imports("six"), quiet)
    assert not list(tiny.glob("tiny-*"))


def test_an_interrupt_ends_the_installer_and_leaves_nothing(home: Path) -> None:
    running = in_shell("setup", "sparsezoo", home=home, start_new_session=True)
    assert running.stderr is not None
    while "package 3" not in running.stderr.readline():
        assert running.poll() is None
    start = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    assert time.monotonic() - start < 2
    assert "incomplete files were removed" in running.communicate()[1]
    assert not list(home.glob("sparsezoo-*"))


@pytest.mark.heavy
@pytest.mark.timeout(900)  # twenty times up to twelve seconds, and a setup at the end
def test_a_setup_killed_at_any_moment_is_never_found_as_a_good_one(home: Path) -> None:
    """Kill the real thing at twenty random moments; then let two run at once, and use what they made."""
    dice = random.Random(0)
    for _ in range(KILLS):
        running = in_shell("setup", "deepsparse", "--accept-licence", home=home, start_new_session=True)
        try:
            running.wait(dice.uniform(0.2, 12.0))
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL) if dice.random() < 0.5 else running.kill()  # or leave pip an orphan
        running.communicate()
        found = environments.find("deepsparse")
        assert found is None or probe("deepsparse").available  # one may have been quick
        if found is not None:
            setup("deepsparse", remove_it=True)
    both = [in_shell("setup", "deepsparse", "--accept-licence", home=home) for _ in range(2)]
    said = [running.communicate()[1] for running in both]
    assert [running.returncode for running in both] == [0, 0], said
    assert any("another setup of deepsparse is running" in each for each in said)
    assert sum("checking the existing environment" in each for each in said) == 1
    assert probe("deepsparse").available
    assert len(list(home.glob("deepsparse-*"))) == 1


def test_threads_of_one_kernel_wait_for_each_other(tiny: Path) -> None:
    made: list[environments.Environment] = []
    threads = [
        threading.Thread(target=lambda: made.append(making.make("tiny", imports("six"), quiet))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.folder for each in made}) == 1


def test_a_target_whose_environment_is_missing_says_the_one_line_that_makes_it(home: Path) -> None:
    build, make_input = ZOO["cnn"]
    report = hwprune(build(), make_input(), target="x86-cpu", toolchain="deepsparse").report
    evidence = report.measurement.evidence
    assert evidence.kind == "unavailable"
    assert "it has not been set up here" in (evidence.reason or "")
    assert evidence.cure == "%hwprune setup deepsparse --accept-licence"


@pytest.mark.usefixtures("deepsparse_environment")
def test_numpy_2_beside_deepsparse_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a numpy that says it is 2 before the environment's own, as a stray `pip install` would."""
    made = environments.find("deepsparse")
    assert made is not None
    site = next(Path(made.folder).glob("lib/python*/site-packages"))
    stray = tmp_path / "stray"
    (stray / "numpy").mkdir(parents=True)
    (stray / "numpy" / "__init__.py").write_text("__version__ = '2.1.0'\n")
    interpreter = tmp_path / "python"
    interpreter.write_text(
        f'#!/bin/sh\nexec "{made.interpreter}" -c "import sys; sys.path.insert(0, \'{stray}\'); '
        'sys.argv = sys.argv[2:]; import runpy; runpy.run_path(sys.argv[0], run_name=\'__main__\')" "$@"\n'
    )
    interpreter.chmod(0o755)
    monkeypatch.setattr(
        environments, "find", lambda _name: type(made)(**(vars(made) | {"interpreter": str(interpreter)}))
    )
    status = probe("deepsparse")
    assert not status.available
    said = "numpy 2.1.0 is installed beside DeepSparse, which then silently returns wrong outputs"
    assert said in (status.reason or "")
    assert site.exists()


@pytest.mark.usefixtures("deepsparse_environment")
def test_doctor_tries_every_toolchain_and_answers_a_program_in_json() -> None:
    done = in_shell("doctor", "x86-cpu", "--smoke", "--json", home=Path(os.environ[environments.FOLDER_VARIABLE]))
    out, err = done.communicate()
    found = json.loads(out)
    assert [each["name"] for each in found["toolchains"]] == [
        *("onnxruntime", "openvino", "deepsparse", "executorch", "litert", "iree", "tvm", "xla")
    ], err
    assert all(found["smoke"][name]["worked"] for name in ("deepsparse", "onnxruntime", "openvino"))
    assert found["toolchains"][2]["environment"]["packages"]["numpy"].startswith("1.")
    assert {meter["name"] for meter in found["meters"]} == {"RAPL", "hwmon"}


def test_doctor_names_every_environment_and_its_cure(home: Path) -> None:
    said = str(doctor())
    for line in ("%hwprune setup deepsparse --accept-licence", "%hwprune setup sparseml", "%hwprune setup sparsezoo"):
        assert f"cure: {line}" in said


def test_the_magic_sets_up_lists_and_refuses_what_is_not_its_own(shell: Any, home: Path) -> None:
    found = shell.run_line_magic("hwprune", "setup")
    assert {row.name for row in found.rows} == {
        "deepsparse",
        "ethos-u",
        "executorch",
        "iree",
        "litert",
        "qnn",
        "rknn",
        "sparseml",
        "sparsezoo",
        "tvm",
        "xla",
    }
    assert "missing" in found._repr_mimebundle_()["text/html"]
    for line, said in (
        ("setup deepsparse", "If you accept that, run"),
        ("setup deepsparse --sparsity 0.5", "takes no option but"),
        ("--accept-licence", "works with %hwprune setup only"),
        ("setup a b", "takes one toolchain"),
    ):
        with pytest.raises(Exception, match=said):
            shell.run_line_magic("hwprune", line)


def test_a_folder_that_cannot_be_written_has_one_clear_paragraph(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path / "file" / "environments"))
    with pytest.raises(InputError, match=r"folder of environments, .*cannot be used.*HWPRUNE_ENVIRONMENTS"):
        setup("sparsezoo")
