"""What `%load_ext jupyter_hwprune` adds to a bare IPython: `python -m benchmarks.load_time`.

Fresh processes in turn, with and without the line; the medians and their difference, in seconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

PAIRS = 15
BARE = "from IPython.core.interactiveshell import InteractiveShell as I; s = I.instance()"
LOADED = f"{BARE}; s.run_line_magic('load_ext', 'jupyter_hwprune')"


def seconds(script: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603 - our own two lines
    return time.perf_counter() - start


def main() -> None:
    seconds(BARE), seconds(LOADED)
    pairs = [(seconds(BARE), seconds(LOADED)) for _ in range(PAIRS)]
    added = sorted(loaded - bare for bare, loaded in pairs)
    print(f"bare IPython      {statistics.median(bare for bare, _ in pairs):.3f} s")
    print(f"with the extension {statistics.median(loaded for _, loaded in pairs):.3f} s")
    print(f"added             {statistics.median(added):.3f} s  (from {added[0]:.3f} to {added[-1]:.3f})")


if __name__ == "__main__":
    main()
