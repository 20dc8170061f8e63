"""A named mistake as one text, for the views that have no place for its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .. import Mistake


def mistake(found: Mistake) -> str:
    line = "" if found.line is None else f" `{found.line}`"
    return f"{found.title} ({found.severity}). {found.what} {found.why} {found.fix}{line}"
