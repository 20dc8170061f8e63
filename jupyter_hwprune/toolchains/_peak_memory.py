"""Run a script, and print the peak memory of its process in bytes, above that with what it imports loaded.

`python -I _peak_memory.py SCRIPT`: Linux keeps the peak, and sets it back on request, which stands in proc(5).
"""

from __future__ import annotations

import ast
import sys


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), path)
    imports: list[ast.stmt] = [each for each in tree.body if isinstance(each, (ast.Import, ast.ImportFrom))]
    rest = [each for each in tree.body if each not in imports]
    names = {"__name__": "__main__"}
    for part in (imports, rest):
        if part is rest:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")
            before = _peak()
        exec(compile(ast.Module(part, []), path, "exec"), names)  # noqa: S102 - the toolchain's own script
    print("peak", _peak() - before)


def _peak() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    main(sys.argv[1])
