"""The errors a user can see. Each message is one paragraph: what happened, the value, and the cure.

HwpruneError
├── InputError          an argument or option is wrong, or does not fit the others
├── PruneError          the model could not be pruned correctly
│   └── NothingFitsError  the pattern fits nothing in the model
├── ExportError         torch could not export the model
├── ToolchainError      a toolchain, its worker process or its environment failed
│   └── MismatchError   a compiled model's outputs are not torch's
├── ReportError         a report or a stored run cannot be read, joined or written
└── RequirementError    the run is whole, but does not meet what --require asks for
"""

import textwrap
from collections.abc import Collection
from itertools import islice
from typing import Any

NARROW_PAGE = 80  # letters on a line of a notebook, 900 pixels wide; a front end breaks longer ones within words


class HwpruneError(Exception):
    """Base of the package's errors; IPython shows it as one paragraph without a traceback.

    `line` is a line to run instead, with which the message ends; it is shown whole, ready to copy.
    """

    line = ""

    def _render_traceback_(self) -> list[str]:
        """Return the lines IPython prints instead of a traceback (its documented hook for exceptions)."""
        said = f"{type(self).__name__}: {self}".removesuffix(self.line)
        return textwrap.wrap(said, width=NARROW_PAGE, break_on_hyphens=False) + ([self.line] if self.line else [])


class InputError(HwpruneError): ...


class PruneError(HwpruneError): ...


class NothingFitsError(PruneError):
    """`said` is the message without its last sentence, the cure, for a caller that knows a better one.

    `enough` is the least share that the same pattern could remove, None if it fits nothing at any share.
    """

    def __init__(self, said: str, cure: str, enough: float | None = None) -> None:
        super().__init__(f"{said} {cure}")
        self.said, self.enough = said, enough


class ExportError(HwpruneError): ...


class ToolchainError(HwpruneError): ...


class MismatchError(ToolchainError): ...


class ReportError(HwpruneError): ...


class RequirementError(HwpruneError):
    """`run` is the whole run, with its model, report and files."""

    def __init__(self, said: str, run: Any) -> None:
        super().__init__(said)
        self.run = run


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return any error as one short line: its type and the start of its message."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - an exception class of anybody's, which cannot say what it is
        text = ""
    return f"{type(error).__name__}: {text[:limit]}" if text else type(error).__name__


def first_of(names: Collection[str], most: int = 4) -> str:
    """List the first names of many: `a, b, c, d, ...`."""
    return ", ".join([*islice(names, most), *(["..."] if len(names) > most else [])])


def counted(number: int, thing: str) -> str:
    """Write 1 layer, 2 layers."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
