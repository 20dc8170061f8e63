"""The page of `--require`, with the metrics from the package's own table."""

from __future__ import annotations

from jupyter_hwprune.report.metrics import METRICS

from .markdown import code, table

INTRODUCTION = """# Guard a deployment

`--require` states what a run has to reach. A run that does not reach it fails its cell with the figures, and so fails a
notebook that CI executes:

{line}
{said}
Nothing is lost: the report is shown, `-o` and the cell's own names keep what they got, and the error's `.run` has the
model, the report and the files. In Python the same line is `hwprune(model, x, require="speedup>=1.3, drop<=0.01")`,
which raises `RequirementError`.

## A saved report

{check}
It takes a report's JSON, a folder of `Run.save` or one of `Run.export`, prints each requirement with its figures, and
ends with 0 if all are met, 1 if not, and 2 if the report or a requirement cannot be read. Put the requirements in
quotes: a shell reads `>` as its own.

## What can be required

Requirements are separated by commas. Each is a metric, one of `>=`, `<=`, `>` and `<`, and a number; or
`verdict==faster`, `verdict!=slower` and so on. Nothing else is read, and nothing is evaluated.

- **speedup** is the ratio that was measured. Where more than 1 is required, the verdict must not be *no measurable
  gain* either. `speedup_low` asks that of the lower end of the 95 % interval.
- **A metric that was not measured** meets no requirement; the message says why it is missing, and what would cure that.
- **drop** is in the units of the score: 0.01 is one point of accuracy in a hundred.

The metrics are those of `report.metrics()`:
"""
LINE = '%hwprune model --input x --eval accuracy --require "speedup>=1.3, drop<=0.01" -o run'
SAID = """RequirementError: 1 of 2 requirements not met: drop<=0.01 is required, but drop is 0.034. The run is kept:
.run of this error has its model, report and files."""
CHECK = 'python -m jupyter_hwprune check report.json --require "speedup>=1.3, drop<=0.01"'


def pages() -> dict[str, str]:
    said = INTRODUCTION.format(line=code(LINE, "ipython3"), said=code(SAID), check=code(CHECK, "sh"))
    rows = [("`verdict`", "faster, slower, no measurable gain, or not measured")]
    rows += [(f"`{name}`", metric.says) for name, metric in METRICS.items()]
    return {"requirements.md": "\n".join([said, table(("metric", "meaning"), rows)])}
