"""Check a report that was saved: alone, in a saved run, or in an exported folder."""

from dataclasses import dataclass
from pathlib import Path

from ..core.door import one_door
from ..core.errors import ReportError
from ..keep.saved import read
from ..keep.saved.files import CONTENTS
from ..render import summary
from ..report import Report
from ..report.requirements import Checked, check, read_requirements

EXPORTED = "report.json"


@dataclass(frozen=True)
class Gate:
    """The report in one line, and each requirement with its figures."""

    summary: str
    checked: tuple[Checked, ...]

    @property
    def passed(self) -> bool:
        return all(each.met for each in self.checked)

    def __str__(self) -> str:
        lines = [self.summary]
        lines += [f"{'met' if each.met else 'NOT MET':<9}{each.requirement}: {each.said}" for each in self.checked]
        return "\n".join(lines)


@one_door(ReportError)
def gate(path: str | Path, *, require: str | None = None) -> Gate:
    """Check the report at `path`; raises ReportError if there is none, InputError for what is no requirement."""
    wanted = () if require is None else read_requirements(require)
    report = _report_at(Path(path).expanduser())
    return Gate(summary(report), check(report, wanted))


def _report_at(path: Path) -> Report:
    if not path.is_dir():
        return Report.load(path)
    return read(path)[1] if (path / CONTENTS).exists() else Report.load(path / EXPORTED)
