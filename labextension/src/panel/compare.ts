/** Compare reports side by side: what differs, and whether their times can be compared at all. */
import type { Report } from '../report';
import { UNKNOWN, count, counted, fixed, general, milliseconds, removed, share } from '../view/format';
import type { Seen } from '../view/reading';
import { deciding, middleCut, text, versions } from '../view/words';

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
  ['verdict', report => deciding(report).verdict ?? UNKNOWN],
  ['speed-up', speedUp],
  ['dense', report => milliseconds(report.measurement.dense_ms)],
  ['pruned', report => milliseconds(report.measurement.pruned_ms)],
  ['weights', ({ totals }) => removed(totals.weights, totals.pruned_weights)],
  ['layer MACs', ({ totals }) => (totals.macs === null ? UNKNOWN : removed(totals.macs, totals.pruned_macs))],
  ['score', score],
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
  ['machine', machine],
  ['versions', versions],
  ['batch', ({ request }) => number(request.batch)],
  ['threads', ({ request }) => number(request.threads)],
  ['data type', ({ request }) => text(request.dtype)],
];

const LONGEST = 160;

/** The rows that a time depends on besides the model. */
const CONDITIONS = ['device', 'clock', 'machine', 'batch', 'threads', 'data type'];

export function compare(reports: SeenReport[]): Comparison {
  const rows = ROWS.map(([name, said]) => {
    const values = reports.map(report => middleCut(said(report), LONGEST));
    return { name, values, differs: new Set(values).size > 1 };
  });
  return { rows, cautions: cautions(reports) };
}

function cautions(reports: SeenReport[]): string[] {
  const timed = reports.filter(report => report.measurement.dense_ms !== null);
  const apart = ROWS.filter(([name, said]) => CONDITIONS.includes(name) && new Set(timed.map(said)).size > 1);
  const names = apart.map(([name]) => name);
  const missing = reports.length - timed.length;
  return [
    ...(names.length > 0 ? [`Their times cannot be compared: they differ in ${listed(names)}.`] : []),
    ...(missing > 0 ? [`${missing} of these ${reports.length} ${missing === 1 ? 'was' : 'were'} not measured.`] : []),
  ];
}

function listed(names: string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1) ?? ''}`;
}

function speedUp(report: SeenReport): string {
  const { speedup, low, high } = deciding(report);
  if (speedup === null) {
    return UNKNOWN;
  }
  return `${fixed(speedup, 2)}x` + (low === null || high === null ? '' : ` (${fixed(low, 2)} to ${fixed(high, 2)})`);
}

function score({ scores }: SeenReport): string {
  const said = (value: number | null | undefined) => (value == null ? UNKNOWN : general(value, 4));
  return scores === null ? UNKNOWN : `${said(scores.dense)} → ${said(scores.pruned)} (${text(scores.expression)})`;
}

function clock({ measurement }: SeenReport): string {
  if (measurement.dense_ms === null) {
    return UNKNOWN;
  }
  return measurement.clock === 'cpu' ? 'process-CPU time' : 'wall time';
}

function machine({ machine: found }: SeenReport): string {
  return found === null ? 'unknown' : `${text(found.cpu)}, ${counted(found.cores ?? 0, 'core')}, ${text(found.system)}`;
}

function number(value: number | null): string {
  return value === null ? 'unknown' : count(value);
}
