"""Loading the extension is cheap: it imports nothing heavy. `benchmarks/load_time.py` shows the time."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "numpy", "matplotlib", "ipywidgets", "onnx", "onnxruntime", "openvino", "scipy", "torch_pruning")


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_load_ext_imports_nothing_heavy_and_prints_nothing() -> None:
    script = f"""
from IPython.core.interactiveshell import InteractiveShell
import sys
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "jupyter_hwprune")
print([name for name in {HEAVY!r} if name in sys.modules and name not in before])
"""
    assert run(script) == "[]"


def test_the_public_names_are_there_and_others_are_not() -> None:
    import jupyter_hwprune

    assert set(jupyter_hwprune.__all__) <= set(dir(jupyter_hwprune))
    assert callable(jupyter_hwprune.hwprune)
    assert not hasattr(jupyter_hwprune, "nothing_of_that_name")


def test_the_matrix_and_the_doctor_need_no_torch() -> None:
    script = """
import sys, jupyter_hwprune as h
str(h.doctor("intel-cpu"))
print("torch" in sys.modules)
"""
    assert run(script) == "False"
