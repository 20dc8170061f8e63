/** Compare reports side by side: what differs, and whether their times can be compared at all. */
import type { Report } from '../report';
import { deciding, estimatedRatio, fastestOf, timedOf } from '../view/deciding';
import { UNKNOWN, count, counted, fixed, general, milliseconds, removed, share, sizes } from '../view/format';
import type { Seen } from '../view/reading';
import { middleCut, text, wordsOf } from '../view/words';

type SeenReport = Seen<Report>;

export interface Row {
  name: string;
  values: string[];
  differs: boolean;
}

export interface Comparison {
  rows: Row[];
  /** Why the times of some of them cannot be compared; empty if they can. */
  cautions: string[];
}

const ROWS: readonly (readonly [name: string, said: (report: SeenReport) => string])[] = [
  ['verdict', report => wordsOf(report).badge ?? UNKNOWN],
  ['speed-up', speedUp],
  ['dense', report => taken(report, 'dense')],
  ['pruned', report => taken(report, 'pruned')],
  ['weights', ({ totals }) => removed(totals.weights, totals.pruned_weights)],
  ['layer MACs', ({ totals }) => (totals.macs === null ? UNKNOWN : removed(totals.macs, totals.pruned_macs))],
  ['score', score],
  ['size', size],
  ['model', ({ request }) => text(request.model)],
  ['target', ({ request }) => text(request.target)],
  ['toolchain', ({ request }) => text(request.toolchain)],
  ['pattern', ({ request }) => text(request.pattern)],
  ['sparsity', ({ request }) => share(request.sparsity)],
  ['importance', ({ request }) => text(request.importance)],
  ['allocation', ({ request }) => text(request.allocation)],
  ['evidence', ({ measurement }) => text(measurement.evidence.kind)],
  ['device', ({ measurement }) => measurement.evidence.device ?? UNKNOWN],
  ['clock', clock],
  ['unit', ({ measurement }) => (measurement.kind === 'estimated' ? text(measurement.unit) : UNKNOWN)],
  ['machine', machine],
  ['versions', versions],
  ['batch', ({ request }) => number(request.batch)],
  ['threads', ({ request }) => number(request.threads)],
  ['data type', ({ request }) => text(request.dtype)],
];

const LONGEST = 160;

/** The rows that a time depends on besides the model. */
const CONDITIONS = ['device', 'clock', 'machine', 'batch', 'threads', 'data type'];
/** A run with int8 models timed them beside float ones, which other runs of that type can stand beside. */
function conditionOf(name: string, report: SeenReport): string {
  const said = ROWS.find(row => row[0] === name)?.[1] ?? (() => UNKNOWN);
  return name === 'data type' ? (report.corners?.rows[0]?.dtype ?? said(report)) : said(report);
}

/** And a compiler's estimate: what it is of. */
const ESTIMATED_FOR = ['device', 'unit', 'batch', 'data type'];
/** What an estimate does not say beside times. */
const NUMBERS = ['speed-up', 'dense', 'pruned'];
const LEFT_OUT = 'an estimate, left out beside times';

export function compare(reports: SeenReport[]): Comparison {
  const anyTimed = reports.some(report => timedOf(report) !== null);
  const rows = ROWS.map(([name, said]) => {
    const isLeftOut = (report: SeenReport) => anyTimed && isEstimated(report) && NUMBERS.includes(name);
    const values = reports.map(report => (isLeftOut(report) ? LEFT_OUT : middleCut(said(report), LONGEST)));
    return { name, values, differs: new Set(values).size > 1 };
  });
  return { rows, cautions: cautions(reports) };
}

/** The names of the rows in which two reports cannot be compared. */
export function unlike(one: SeenReport, other: SeenReport): string {
  if (one.measurement.kind !== other.measurement.kind) {
    return 'evidence';
  }
  const names = isEstimated(one) ? ESTIMATED_FOR : CONDITIONS;
  return listed(names.filter(name => conditionOf(name, one) !== conditionOf(name, other)));
}

/** What a run is called by, the most telling first. */
const TELLING: readonly ((report: SeenReport) => string)[] = [
  ({ request }) => text(request.model),
  ({ request }) => text(request.target),
  ({ request }) => text(request.toolchain),
  ({ request }) => text(request.pattern),
  ({ request }) => share(request.sparsity),
  ({ request }) => text(request.importance),
  ({ request }) => text(request.allocation),
  ({ request }) => text(request.dtype),
  ({ request }) => training(request),
  ({ request }) => `batch ${number(request.batch)}`,
  ({ request }) => `${number(request.threads)} threads`,
];

function training({ trained, steps }: SeenReport['request']): string {
  const inSteps = steps !== null && steps > 1 ? ` in ${steps} steps` : '';
  return trained === true ? `trained${inSteps}` : `not trained${inSteps && `, pruned${inSteps}`}`;
}

const [MOST_PARTS, LONGEST_LABEL] = [4, 60];

/** Name each report by what differs between them, or by pattern and sparsity where nothing does. */
export function labels(reports: SeenReport[]): string[] {
  const differing = TELLING.filter(said => new Set(reports.map(said)).size > 1);
  const telling = differing.length > 0 ? differing : TELLING.slice(3, 5);
  return reports.map(report =>
    middleCut(
      telling
        .slice(0, MOST_PARTS)
        .map(said => said(report))
        .join(', '),
      LONGEST_LABEL
    )
  );
}

function cautions(reports: SeenReport[]): string[] {
  const timed = reports.filter(report => timedOf(report) !== null);
  const estimated = reports.filter(isEstimated);
  const differing = (those: SeenReport[], conditions: string[]) =>
    conditions.filter(name => new Set(those.map(each => conditionOf(name, each))).size > 1);
  const names = differing(timed, CONDITIONS);
  const guessed = timed.length > 0 ? [] : differing(estimated, ESTIMATED_FOR);
  const missing = reports.length - timed.length - estimated.length;
  return [
    ...(names.length > 0 ? [`Their times cannot be compared: they differ in ${listed(names)}.`] : []),
    ...(guessed.length > 0 ? [`Their estimates cannot be compared: they differ in ${listed(guessed)}.`] : []),
    ...(timed.length > 0 && estimated.length > 0
      ? [
          `${estimated.length} of these ${reports.length} ${estimated.length === 1 ? 'is' : 'are'} a compiler's estimate, without numbers beside times.`,
        ]
      : []),
    ...(missing > 0 ? [`${missing} of these ${reports.length} ${missing === 1 ? 'was' : 'were'} not measured.`] : []),
  ];
}

function listed(names: string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
}

function isEstimated({ measurement }: SeenReport): boolean {
  return measurement.kind === 'estimated';
}

function speedUp(report: SeenReport): string {
  const { speedup, low, high } = deciding(report);
  const estimate = estimatedRatio(report);
  if (speedup === null) {
    return estimate === null ? UNKNOWN : `estimated ${fixed(estimate, 2)}x`;
  }
  return `${fixed(speedup, 2)}x` + (low === null || high === null ? '' : ` (${fixed(low, 2)} to ${fixed(high, 2)})`);
}

/** The time of a batch, or what a compiler estimates for it. */
function taken(report: SeenReport, side: 'dense' | 'pruned'): string {
  const { measurement } = report;
  if (measurement.kind === 'estimated') {
    return `${count(measurement[side])} ${text(measurement.unit)}`;
  }
  return milliseconds(timedOf(report)?.[`${side}_ms`] ?? null);
}

function versions(report: SeenReport): string {
  const shown = Object.entries(report.versions).filter(([name]) => name !== 'python' && name !== 'numpy');
  return shown.map(([name, version]) => `${name} ${text(version)}`).join(', ');
}

function score({ scores }: SeenReport): string {
  const said = (value: number | null | undefined) => (value == null ? UNKNOWN : general(value, 4));
  return scores === null ? UNKNOWN : `${said(scores.dense)} → ${said(scores.pruned)} (${text(scores.expression)})`;
}

/** That of the compiled files: of int8 models, of the fastest. */
function size(report: SeenReport): string {
  const { footprint, corners } = report;
  const [dense, fastest] = [corners?.rows[0]?.file_bytes ?? null, fastestOf(report)?.file_bytes ?? null];
  return footprint === null ? sizes(dense, fastest) : sizes(footprint.dense_bytes, footprint.pruned_bytes);
}

function clock(report: SeenReport): string {
  const timed = timedOf(report);
  if (timed === null) {
    return UNKNOWN;
  }
  return timed.clock === 'cpu' ? 'process-CPU time' : 'wall time';
}

function machine({ machine: found }: SeenReport): string {
  return found === null ? 'unknown' : `${text(found.cpu)}, ${counted(found.cores ?? 0, 'core')}, ${text(found.system)}`;
}

function number(value: number | null): string {
  return value === null ? 'unknown' : count(value);
}
