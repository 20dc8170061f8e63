"""The pruning engine beside its peers, table by table: `python -m benchmarks.pruning --sparsegpt F --wanda F --alps F`.

SparseGPT, Wanda, ALPS and apex are run from checkouts of their repositories, the others from an environment of their
own that is made at the first run. A table whose checkout is not given is left out, and that is said.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from . import peers

RESULTS = Path(__file__).with_name("results")
TABLES = ("zoo", "solver", "perplexity", "permutation", "masks", "channels")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsegpt", type=Path, help="a checkout of github.com/IST-DASLab/sparsegpt")
    parser.add_argument("--wanda", type=Path, help="a checkout of github.com/locuslab/wanda")
    parser.add_argument("--alps", type=Path, help="a checkout of github.com/mazumder-lab/ALPS")
    parser.add_argument("--apex", type=Path, help="a checkout of github.com/NVIDIA/apex")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder of the tables")
    options = parser.parse_args()
    failed = []
    for table in options.tables:
        wanted = checkouts(table)
        missing = [name for name in wanted if getattr(options, name) is None]
        if missing:
            print(f"## {table}: left out, for it needs --{' and --'.join(missing)}\n", flush=True)
            continue
        command = [sys.executable, "-m", f"benchmarks.{table}", "--out", str(options.out / f"{table}.json")]
        for name in wanted:
            command += [f"--{name}", str(getattr(options, name))]
        if table in {"zoo", "channels", "masks"}:
            command += ["--peer-python", str(peers.interpreter())]
        print(f"## {table}: {' '.join(command[1:])}\n", flush=True)
        if subprocess.run(command, check=False).returncode:  # noqa: S603
            failed.append(table)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def checkouts(table: str) -> tuple[str, ...]:
    return {
        "solver": ("sparsegpt", "alps"),
        "perplexity": ("sparsegpt", "wanda", "alps"),
        "permutation": ("apex",),
    }.get(table, ())


if __name__ == "__main__":
    raise SystemExit(main())
