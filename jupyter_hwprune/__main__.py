"""The commands for a shell, without a notebook: `python -m jupyter_hwprune targets`, `doctor`, `setup` and `check`.

They end with 0; with 1 where something failed or a saved report does not meet what is required of it; and with 2 where
the words or the report cannot be read.
"""

import argparse
import sys

from .core.errors import HwpruneError
from .core.options import OPTIONS, add_to, keywords, parameters


def main(words: list[str] | None = None) -> int:
    from .survey import doctor, matrix, provision

    options = _parser().parse_args(words)
    given = keywords(options, options.command)
    try:
        if options.command == "targets":
            print(matrix.targets())
        elif options.command == "doctor":
            found = doctor.doctor(options.target, **given)
            print(found.to_json() if options.json else found)
        elif options.command == "check":
            return _check(options)
        else:
            print(provision.setup(options.name, **given, progress=_Lines()))
    except HwpruneError as error:
        print("\n".join(error._render_traceback_()), file=sys.stderr)
        return 2 if options.command == "check" else 1
    except KeyboardInterrupt:
        print("Interrupted; incomplete files were removed.", file=sys.stderr)
        return 130
    return 0


def _check(options: argparse.Namespace) -> int:
    from .survey.gate import gate

    found = gate(options.path, require=options.require, ignore=options.ignore)
    print(found)
    return 0 if found.passed else 1


class _Lines:
    """Print each step once, on stderr: a log file cannot update a line in place."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, phase: str, detail: str) -> None:
        line = f"hwprune: {phase} ({detail})"
        if line != self.last:
            print(line, file=sys.stderr, flush=True)
        self.last = line


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jupyter_hwprune", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("targets", help="list the chips, what to prune for each, and what can be measured here")
    doctor = commands.add_parser("doctor", help="check each toolchain here, and say how to fix what is missing")
    doctor.add_argument("target", nargs="?", help="only this target's toolchains")
    doctor.add_argument("--json", action="store_true", help="print JSON, for a program to read")
    setup = commands.add_parser("setup", help="make a toolchain's own environment; without a name, list them")
    setup.add_argument("name", nargs="?", help="the toolchain")
    for command, of_command in (("doctor", doctor), ("setup", setup)):
        for name in parameters(command).values():
            add_to(of_command, OPTIONS[name])
    check = commands.add_parser("check", help="check a saved report against requirements, and list its mistakes")
    check.add_argument("path", help="a report's JSON, the folder of Run.save, or that of Run.export")
    for name in ("require", "ignore"):
        add_to(check, OPTIONS[name])
    return parser


if __name__ == "__main__":
    sys.exit(main())
