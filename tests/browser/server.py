"""A real JupyterLab server (Notebook 7 beside it) in folders of its own, which the tests' pages talk to."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "jupyter_hwprune" / "labextension"
TOKEN = "browser-tests"
START_S = 120
# a kernel as those before ipykernel 7 were, which have no subshells
NO_SUBSHELLS = "no-subshells"
LAUNCH_WITHOUT = """from ipykernel import ipkernel, kernelapp
ipkernel.IPythonKernel._supports_kernel_subshells = property(lambda self: False)
kernelapp.launch_new_instance()"""


class Server:
    """`notebooks` is what the file browser shows; kernels run there and import the package of this working tree."""

    def __init__(self, home: Path, *, with_extension: bool) -> None:
        self.notebooks, self._home = home / "notebooks", home
        self._settings = home / "settings"
        self._log = home / "server.log"
        for folder in ("config", "data", "runtime", "settings", "workspaces", "labextensions", "notebooks"):
            (home / folder).mkdir(parents=True)
        if with_extension:
            # a copy: a build that goes on meanwhile is none of this server's business
            shutil.copytree(EXTENSION, home / "labextensions" / "jupyter-hwprune")
        config = self._config(with_extension=with_extension)
        (home / "config" / "jupyter_server_config.json").write_text(json.dumps(config))
        self._add_kernel()
        self._process = self._start()
        self.url = self._wait()

    def call(self, method: str, path: str) -> Any:
        """Ask the server's REST interface, and return its answer."""
        request = Request(f"{self.url}/api/{quote(path)}", method=method, headers={"Authorization": f"token {TOKEN}"})
        with urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def end_kernels(self) -> None:
        for session in self.call("GET", "sessions"):
            self.call("DELETE", f"sessions/{session['id']}")
        for kernel in self.call("GET", "kernels"):
            self.call("DELETE", f"kernels/{kernel['id']}")

    def forget(self) -> None:
        """End all kernels, remove all files, and take every setting back that a page has changed."""
        self.end_kernels()
        for path in (*self._settings.iterdir(), *self.notebooks.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def set_settings(self, extension: str, plugin: str, settings: dict[str, Any]) -> None:
        """Keep settings as a user would have changed them; pages read them when they are loaded."""
        folder = self._settings / extension
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{plugin}.jupyterlab-settings").write_text(json.dumps(settings))

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _config(self, *, with_extension: bool) -> dict[str, Any]:
        quiet = {"@jupyterlab/apputils-extension:announcements": True}
        if not with_extension:  # where it was linked into this environment
            quiet["jupyter-hwprune"] = True
        (self._home / "config" / "labconfig").mkdir()
        (self._home / "config" / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": quiet}))
        return {
            "ServerApp": {
                "allow_root": True,
                "ip": "127.0.0.1",
                "jpserver_extensions": {"jupyterlab": True, "notebook": True},
                "open_browser": False,
                "port": 0,
                "root_dir": str(self.notebooks),
                "terminals_enabled": False,
            },
            "IdentityProvider": {"token": TOKEN},
            "LabServerApp": {
                "extra_labextensions_path": [str(self._home / "labextensions")],
                "user_settings_dir": str(self._settings),
                "workspaces_dir": str(self._home / "workspaces"),
            },
            "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
            "JupyterNotebookApp": {"expose_app_in_browser": True},
        }

    def _add_kernel(self) -> None:
        folder = self._home / "data" / "kernels" / NO_SUBSHELLS
        folder.mkdir(parents=True)
        arguments = [sys.executable, "-c", LAUNCH_WITHOUT, "-f", "{connection_file}"]
        spec = {"argv": arguments, "display_name": NO_SUBSHELLS, "language": "python"}
        (folder / "kernel.json").write_text(json.dumps(spec))

    def _start(self) -> subprocess.Popen[bytes]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "IPYTHON"))}
        own = {
            "HOME": str(self._home),
            "JUPYTER_CONFIG_DIR": str(self._home / "config"),
            "JUPYTER_DATA_DIR": str(self._home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._home / "runtime"),
            "IPYTHONDIR": str(self._home / "ipython"),
            "OMP_NUM_THREADS": "1",  # beside other tests, waiting threads only heat the cores
            "PYTHONPATH": str(ROOT),
        }
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jupyterlab"], env=inherited | own, stdout=log, stderr=log, cwd=self._home
            )

    def _wait(self) -> str:
        """Wait until the server answers, and return its address, whose port the system has chosen."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError):  # it may not be written, or not listen yet
                for file in (self._home / "runtime").glob("jpserver-*.json"):
                    self.url = str(json.loads(file.read_text())["url"]).rstrip("/")
                    self.call("GET", "status")
                    return self.url
            time.sleep(0.1)
        self.stop()
        pytest.fail(f"JupyterLab has not started within {START_S} s. It said:\n{self.log()[-4000:]}", pytrace=False)


def require_extension() -> None:
    if not (EXTENSION / "package.json").exists():
        pytest.fail("The lab extension is not built, and the browser tests need it: make labextension", pytrace=False)
