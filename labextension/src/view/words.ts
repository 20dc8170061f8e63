/** A report's words: those that came with it, or the few that its numbers say plainly where an older version wrote it. */
import type { Column, Comparison, Fact, Layer, Report, Returned, Skipped, Words } from '../report';
import { bestBaseline, deciding, estimatedRatio, timedOf } from './deciding';
import { UNKNOWN, count, fixed, milliseconds, removed, share, threeDigits } from './format';
import type { Seen } from './reading';

type SeenLayer = Seen<Layer>;
type SeenReport = Seen<Report>;

export function wordsOf(report: SeenReport): Seen<Words> {
  return report.words ?? plainWords(report);
}

export type Cells = Partial<Record<Column['key'], string>>;

/** A layer, and what is said of it. */
export interface Row {
  layer: SeenLayer;
  cells: Cells;
}

/** The layers with their cells; a column that has not one for each layer is taken from the numbers. */
export function rowsOf(report: SeenReport): Row[] {
  const plain = plainColumns(report);
  const told = wordsOf(report).columns.filter(column => column.cells.length === report.layers.length);
  const columns = [...plain.filter(({ key }) => !told.some(each => each.key === key)), ...told];
  return report.layers.map((layer, index) => ({
    layer,
    cells: Object.fromEntries(columns.flatMap(({ key, cells }) => (key === null ? [] : [[key, cells[index] ?? '']]))),
  }));
}

/** What each column is called. */
export function headsOf(report: SeenReport): Cells {
  const columns = [...plainColumns(report), ...wordsOf(report).columns];
  return Object.fromEntries(columns.flatMap(({ key, name }) => (key === null ? [] : [[key, text(name)]])));
}

function plainWords(report: SeenReport): Seen<Words> {
  const { request } = report;
  const comparison = deciding(report);
  const judged = comparison.speedup === null ? null : comparison.verdict;
  return {
    title: `${text(request.model)} for ${text(request.target)}, ${text(request.pattern)}, ${text(request.toolchain)}`,
    headline: plainHeadline(report, comparison),
    badge: judged ?? (report.measurement.kind === 'estimated' ? 'estimated' : 'not measured'),
    interval: null,
    facts: plainFacts(report),
    columns: [],
    notes: [],
    returned: report.returned.map(layer => `${nameOf(layer, 60)}: ${text(layer.reason)}`),
    left_dense: report.skipped.map(layer => `${nameOf(layer, 60)}: ${text(layer.reason)}`),
    corners: null,
    runtimes: null,
    search: null,
    training: null,
  };
}

function plainHeadline(report: SeenReport, { speedup, verdict }: Seen<Comparison>): string {
  const { measurement } = report;
  const estimate = estimatedRatio(report);
  if (estimate !== null) {
    return `estimated ${fixed(estimate, 2)}x`;
  }
  if (speedup === null || verdict === null) {
    return measurement.evidence.kind === 'compiled' ? 'compiled, not timed' : UNKNOWN.toUpperCase();
  }
  const rival = bestBaseline(report);
  const against = rival?.speed.speedup === speedup ? ` against dense with ${text(rival.toolchain)}` : '';
  return `${verdict.toUpperCase()} ${fixed(speedup, 2)}x${against}`;
}

function plainFacts(report: SeenReport): Seen<Fact>[] {
  const { measurement, totals } = report;
  const timed = timedOf(report);
  const evidence: [string, string | null][] =
    timed === null
      ? [
          ['not measured', measurement.evidence.reason],
          ['cure', measurement.evidence.cure],
        ]
      : [
          ['time', `${milliseconds(timed.dense_ms)} → ${milliseconds(timed.pruned_ms)}`],
          ['on', timed.evidence.device],
        ];
  return [
    ...evidence.map(([name, said]) => ({ name, said: text(said), evidence: true })),
    { name: 'weights', said: removed(totals.weights, totals.pruned_weights), evidence: false },
  ];
}

const PLAIN: readonly (readonly [Column['key'], string, (layer: SeenLayer) => string])[] = [
  ['weight', 'weight', layer => layer.shape.join('x')],
  ['removed', 'removed', layer => share(layer.sparsity)],
  ['macs', 'MACs', layer => `${count(layer.macs)} → ${count(layer.pruned_macs)}`],
  ['time', 'time, µs', times],
  ['valid', 'valid', layer => yesNo(layer.valid)],
  ['used', 'used', layer => yesNo(layer.used)],
  ['faster', 'faster', ({ speed }) => (speed.speedup === null ? UNKNOWN : `${fixed(speed.speedup, 2)}x`)],
  ['kernel', 'kernel', layer => layer.pruned_kernel ?? UNKNOWN],
];

function plainColumns(report: SeenReport): Seen<Column>[] {
  return PLAIN.map(([key, name, cell]) => ({ key, name, cells: report.layers.map(cell) }));
}

function times({ dense_us: dense, pruned_us: pruned }: SeenLayer): string {
  const said = (us: number | null) => (us === null ? UNKNOWN : threeDigits(us));
  return dense === null && pruned === null ? UNKNOWN : `${said(dense)} → ${said(pruned)}`;
}

function yesNo(value: boolean | null): string {
  return value === null ? UNKNOWN : value ? 'yes' : 'no';
}

/** The layer's name cut to a width, with its kind beside one of numbers alone, such as 2.0, or in place of none. */
export function nameOf(layer: SeenLayer | Seen<Skipped> | Seen<Returned>, width: number): string {
  const name = layer.name ?? '';
  return middleCut(/^[\d.]*$/.test(name) ? `${name} ${text(layer.kind)}`.trim() : name, width);
}

/** The end of a dotted name, which tells layers of one kind apart where there is little room. */
export function lastParts(name: string, width: number): string {
  if (name.length <= width) {
    return name;
  }
  const dot = name.indexOf('.', name.length - width);
  return dot < 0 ? middleCut(name, width) : `…${name.slice(dot + 1)}`;
}

export function middleCut(said: string, width: number): string {
  const characters = Array.from(said);
  if (characters.length <= width) {
    return said;
  }
  const half = Math.floor(width / 2);
  return `${characters.slice(0, half - 1).join('')}…${characters.slice(-half).join('')}`;
}

/** A word that the report has to have, and this one perhaps lacks. */
export function text(value: string | null): string {
  return value ?? 'unknown';
}
