"""Check a report that was saved: alone, in a saved run, or in an exported folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.door import one_door
from ..core.errors import ReportError
from ..keep.saved import read
from ..keep.saved.files import CONTENTS
from ..mistakes import check_codes, lint
from ..render import summary
from ..report import Mistake, Report
from ..report.requirements import Checked, check, read_requirements
from ..report.words import mistake

EXPORTED = "report.json"


@dataclass(frozen=True)
class Gate:
    """The report in one line, each requirement with its figures, and the mistakes, which decide nothing."""

    summary: str
    checked: tuple[Checked, ...]
    mistakes: tuple[Mistake, ...]

    @property
    def passed(self) -> bool:
        return all(each.met for each in self.checked)

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"{'met' if each.met else 'NOT MET':<9}{each.requirement}: {each.said}" for each in self.checked]
        return "\n".join([*lines, *(f"{each.code:<9}{mistake(each)}" for each in self.mistakes)])


@one_door(ReportError)
def gate(path: str | Path, *, require: str | None = None, ignore: Sequence[str] = ()) -> Gate:
    """Check the report at `path`; raises ReportError if there is none, InputError for what is no requirement."""
    silent = check_codes(ignore)
    wanted = () if require is None else read_requirements(require)
    report = _report_at(Path(path).expanduser())
    return Gate(summary(report), check(report, wanted), lint(report, ignore=silent))


def _report_at(path: Path) -> Report:
    if not path.is_dir():
        return Report.load(path)
    return read(path)[1] if (path / CONTENTS).exists() else Report.load(path / EXPORTED)
