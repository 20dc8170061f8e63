"""A library for an Arm CPU that is not here, run once by qemu: for its outputs, and never for a time.

qemu plays the processor, Debian's cross compiler has the C library, and TVM's wheel for aarch64 the runtime.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

QEMU = ("qemu-aarch64-static", "qemu-aarch64")
COMPILER = "aarch64-linux-gnu-gcc"
PACKAGES = "apt install qemu-user-static gcc-aarch64-linux-gnu libstdc++6-arm64-cross"
SYSTEM = "/usr/aarch64-linux-gnu"  # where Debian's packages put what an Arm program needs
RUNNER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_tvm_run.c")


def runtime() -> str:
    """Return the folder for TVM's wheels for aarch64, which is removed with the environment."""
    return os.path.join(sys.prefix, "aarch64")


def lacking() -> tuple[str, str] | None:
    """Return what is missing to run an Arm library here, and the command that installs it; None if nothing is."""
    tools = [each for each in (COMPILER, SYSTEM + "/lib/libstdc++.so.6") if not shutil.which(each, os.F_OK)]
    tools += [] if _qemu() else [QEMU[0]]
    if tools:
        return "no %s here" % " and no ".join(tools), PACKAGES
    if not all(map(os.path.isdir, _libraries())):
        from importlib.metadata import version

        pins = " ".join("%s==%s" % (each, version(each)) for each in ("apache-tvm", "apache-tvm-ffi"))
        platform = "--only-binary=:all: --platform manylinux_2_28_aarch64"
        own = "%s -m pip install --no-deps %s --target %s %s" % (sys.executable, platform, runtime(), pins)
        return "TVM's runtime for aarch64 is not here", own
    return None


def outputs(library: str, values: Sequence[Any]) -> list[Any]:
    """Run a library's `main` on arrays and shapes; raises RuntimeError with what qemu or TVM says."""
    folder = os.path.dirname(library)
    program, given, found = (os.path.join(folder, "arm-" + each) for each in ("run", "arguments", "outputs"))
    libraries = ["-L" + each for each in _libraries()]
    include = "-I" + os.path.join(runtime(), "tvm_ffi", "include")
    # the runtime registers its functions as it is loaded, though the runner calls none of them
    linked = ["-Wl,--no-as-needed", *libraries, "-ltvm_runtime", "-ltvm_ffi", "-Wl,-rpath-link," + SYSTEM + "/lib"]
    _run([COMPILER, "-O1", "-o", program, RUNNER, include, *linked])
    _write(given, values)
    paths = "LD_LIBRARY_PATH=" + ":".join(_libraries())
    _run([_qemu(), "-L", SYSTEM, "-E", paths, "-E", "TVM_NUM_THREADS=1", program, library, given, found])
    return _read(found)


def _qemu() -> str:
    return next((path for path in map(shutil.which, QEMU) if path), "")


def _libraries() -> list[str]:
    return [os.path.join(runtime(), each, "lib") for each in ("tvm", "tvm_ffi")]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the system's own tools
    if done.returncode:
        said = done.stderr.strip() or "it ended with %d" % done.returncode
        raise RuntimeError("%s: %s" % (os.path.basename(command[0]), said))


def _write(path: str, values: Sequence[Any]) -> None:
    """Write arguments in the form that _tvm_run.c reads."""
    import numpy as np

    codes = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLPack's
    with open(path, "wb") as file:
        np.array([len(values)], "int64").tofile(file)
        for each in values:
            if isinstance(each, np.ndarray):
                own = np.ascontiguousarray(each)
                head = [1, codes[own.dtype.kind], own.itemsize * 8, own.ndim, own.nbytes, *own.shape]
            else:
                own, head = np.empty(0), [0, 0, 64, len(each), 0, *each]
            np.array(head, "int64").tofile(file)
            own.tofile(file)


def _read(path: str) -> list[Any]:
    import numpy as np

    kinds = {0: "i", 1: "u", 2: "f", 6: "b"}
    found = []
    with open(path, "rb") as file:
        for _ in range(int(np.fromfile(file, "int64", 1)[0])):
            _, code, bits, dims, size = map(int, np.fromfile(file, "int64", 5))
            shape = np.fromfile(file, "int64", dims)
            found.append(np.frombuffer(file.read(size), "%s%d" % (kinds[code], bits // 8)).reshape(shape))
    return found
