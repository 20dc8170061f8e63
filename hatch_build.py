"""The wheel's build step: the extension for JupyterLab, built with Node and laid where JupyterLab looks for it.

An editable install builds nothing; `npm run build` in labextension and `jupyter-builder develop .` do it by hand.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SWITCH = "HWPRUNE_WITHOUT_LABEXTENSION"
BUILT = Path("jupyter_hwprune", "labextension")
SHARED = "share/jupyter/labextensions/jupyter-hwprune"


class LabExtension(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or os.environ.get(SWITCH, "0") not in {"", "0"}:
            return
        root = Path(self.root)
        if not self._came_built(root):
            self._build(root / "labextension")
        if self.target_name == "wheel":
            build_data["shared_data"] |= {
                str(root / BUILT): SHARED,
                str(root / "labextension" / "install.json"): f"{SHARED}/install.json",
            }

    @staticmethod
    def _came_built(root: Path) -> bool:
        """Say whether this is an unpacked sdist, which brings what was built; a clone may hold an old build."""
        return (root / "PKG-INFO").exists() and (root / BUILT / "package.json").exists()

    def _build(self, sources: Path) -> None:
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            sys.exit(
                "jupyter-hwprune's extension for JupyterLab is built with Node, and there is no `node` and `npm` on "
                f"the PATH: install Node 20.19 or newer, or set {SWITCH}=1 to build the package without the extension."
            )
        commands = [] if _fresh(sources) else [["ci"]]
        for arguments in [*commands, ["run", "build"]]:
            done = subprocess.run([npm, *arguments], cwd=sources, stdout=sys.stderr, check=False)  # noqa: S603 - the npm of the PATH
            if done.returncode:
                sys.exit(
                    f"`npm {' '.join(arguments)}` failed in {sources} (its words are above): mend it, or set "
                    f"{SWITCH}=1 to build the package without the extension for JupyterLab."
                )


def _fresh(sources: Path) -> bool:
    """Say whether the packages installed in `sources` are those that the lock file names."""
    installed = sources / "node_modules" / ".package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= (sources / "package-lock.json").stat().st_mtime
