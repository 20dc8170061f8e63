/** The runs of a notebook as marks of one plot: score, or the weights left, against time or speed-up. */
import { unlike } from '../panel/compare';
import type { Comparison, Report } from '../report';
import { deciding, estimatedRatio, fastestOf, timedOf } from '../view/deciding';
import { UNKNOWN, count, fixed, general, milliseconds, share } from '../view/format';
import type { Axes, Mark } from '../view/frontier';
import type { Seen } from '../view/reading';
import { markOf } from '../view/search';
import { text, wordsOf } from '../view/words';

type SeenReport = Seen<Report>;

export type Across = 'time' | 'speed-up';

/** A run with the name and the number that it has in the list. */
export interface Named {
  report: SeenReport;
  label: string;
  number: number;
  open: () => void;
}

export interface Plotted {
  marks: Mark[];
  axes: Axes;
  /** Which runs are not drawn, and why. */
  left: string[];
}

export function plotted(runs: Named[], across: Across): Plotted {
  const measured = runs.filter(({ report }) => times(report).pruned !== null);
  const first = measured.find(({ report }) => timedOf(report) !== null) ?? measured[0];
  const scored = measured.some(({ report }) => report.scores !== null);
  const expression = measured.find(({ report }) => report.scores !== null)?.report.scores?.expression ?? null;
  const left: string[] = [];
  const marks: Mark[] = [];
  for (const run of runs) {
    const why = first === undefined ? UNKNOWN : reason(run.report, first.report, scored, expression);
    if (why === '') {
      marks.push(...marksOf(run, across, scored));
    } else {
      left.push(`${run.number} (${run.label}): ${why}`);
    }
  }
  const unit = first === undefined ? 'ms' : unitOf(first.report);
  const x = across === 'time' ? `time of a batch, ${unit}` : 'times as fast as dense';
  const y = scored ? `score: ${(expression ?? UNKNOWN).slice(0, 40)}` : 'share of the weights left';
  const label = `${scored ? 'Score' : 'Weights left'} against ${across} of ${marks.length} models`;
  return { marks: unique(marks), axes: { x, y, label, rising: across === 'speed-up' }, left };
}

/** Why a run cannot stand on the axes of another, "" if it can. */
function reason(report: SeenReport, first: SeenReport, scored: boolean, expression: string | null): string {
  if (times(report).pruned === null) {
    return UNKNOWN;
  }
  const differing = unlike(first, report);
  if (differing !== '') {
    return `it differs in ${differing}`;
  }
  if (scored && report.scores === null) {
    return 'it has no score';
  }
  return scored && report.scores?.expression !== expression ? 'its score is another expression' : '';
}

interface Times {
  dense: number | null;
  pruned: number | null;
}

/** What both models take: in ms, or in the unit of a compiler's estimate. */
function times(report: SeenReport): Times {
  const { measurement } = report;
  if (measurement.kind === 'estimated') {
    return { dense: measurement.dense, pruned: measurement.pruned };
  }
  const timed = timedOf(report);
  return { dense: timed?.dense_ms ?? null, pruned: timed?.pruned_ms ?? null };
}

function unitOf({ measurement }: SeenReport): string {
  return measurement.kind === 'estimated' ? text(measurement.unit) : 'ms';
}

function marksOf(run: Named, across: Across, scored: boolean): Mark[] {
  const { report, label, number, open } = run;
  const { dense, pruned } = times(report);
  const at = (time: number | null, speed: Seen<Comparison> | null): number | null =>
    across === 'time' ? time : (speed?.speedup ?? (time === null || dense === null ? null : dense / time));
  const say = (what: string, time: number | null, y: number | null) =>
    `${what}: ${time === null ? UNKNOWN : timeOf(report, time)}, ${scored ? `score ${y === null ? UNKNOWN : general(y, 4)}` : `${share(y)} of the weights left`}`;
  const left = weightsLeft(report);
  const badge = wordsOf(report).badge ?? UNKNOWN;
  const corners = report.corners?.rows.slice(2) ?? [];
  const int8 = corners.map(row => ({ row, y: scored ? row.score : row.pruned === true ? left : 1 }));
  const fastest = fastestOf(report);
  const own = timedOf(report)?.comparison ?? null;
  const y = scored ? (report.scores?.pruned ?? null) : left;
  const denseY = scored ? (report.scores?.dense ?? null) : 1;
  const found: (Mark | null)[] = [
    mark(across === 'time' ? dense : 1, denseY, { kind: 'dense', said: say('dense', dense, denseY) }),
    ...int8.map(({ row, y: height }) =>
      mark(at(row.ms, row.speed), height, {
        kind: 'int8',
        said: say(`${number}, ${label}, ${row.pruned === true ? 'pruned' : 'dense'} int8`, row.ms, height),
        ...(row === fastest ? { label: `${number} int8` } : {}),
        open,
      })
    ),
    ...searchMarks(run, across, scored),
    mark(at(pruned, own) ?? estimatedRatio(report), y, {
      kind: 'run',
      said: say(`${number}, ${label}, ${badge}`, pruned, y),
      label: String(number),
      verdict: badge,
      open,
    }),
  ];
  return found.filter(each => each !== null);
}

/** The plans that a run's search has tried; the chosen one is the run itself. */
function searchMarks({ report, number, open }: Named, across: Across, scored: boolean): Mark[] {
  const { search } = report;
  if (search?.unit !== unitOf(report)) {
    return [];
  }
  return search.points.flatMap(point => {
    const found = markOf(search, point, scored);
    if (found === null || (across === 'speed-up' && point.dense_time === null)) {
      return [];
    }
    const x = across === 'time' ? found.x : (point.dense_time ?? 0) / found.x;
    return [{ ...found, x, said: `tried for ${number}: ${found.said}`, open }];
  });
}

function mark(x: number | null, y: number | null, rest: Omit<Mark, 'x' | 'y'>): Mark | null {
  return x === null || y === null ? null : { x, y, ...rest };
}

function timeOf(report: SeenReport, time: number): string {
  const { speedup } = deciding(report);
  const said = unitOf(report) === 'ms' ? milliseconds(time) : `${count(time)} ${unitOf(report)}`;
  return speedup === null || time !== times(report).pruned ? said : `${said}, ${fixed(speedup, 2)}x`;
}

function weightsLeft({ totals }: SeenReport): number | null {
  const { weights, pruned_weights: pruned } = totals;
  return weights === null || pruned === null || weights <= 0 ? null : pruned / weights;
}

/** The dense model, once where several runs have it at one place. */
function unique(marks: Mark[]): Mark[] {
  const places = new Set<string>();
  return marks.filter(({ kind, x, y }) => {
    const place = `${kind} ${x} ${y}`;
    const isNew = kind !== 'dense' || !places.has(place);
    places.add(place);
    return isNew;
  });
}
