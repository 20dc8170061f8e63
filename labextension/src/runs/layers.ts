/** The layers of several runs, aligned by their names. */
import type { Layer, Report } from '../report';
import { count, share, threeDigits } from '../view/format';
import { lengths } from '../view/layers/columns';
import type { Seen } from '../view/reading';
import { text } from '../view/words';

type SeenReport = Seen<Report>;

export interface Cell {
  /** What the pruned layer takes, "" where no time is known or the layer is none of the pruned ones. */
  time: string;
  /** What went, or why the layer is as it was. */
  gone: string;
  verdict: string;
}

export interface LayerRow {
  name: string;
  dense: string;
  /** One for each run. */
  cells: Cell[];
}

/** A row for each layer that some run knows, the one that takes most when dense first. */
export function aligned(reports: SeenReport[]): LayerRow[] {
  const weights = new Map<string, number>();
  const known = reports.map(report => new Map(report.layers.map(layer => [text(layer.name), layer])));
  for (const layer of reports.flatMap(report => report.layers)) {
    const name = text(layer.name);
    weights.set(name, Math.max(weights.get(name) ?? 0, lengths(layer)[0] ?? layer.macs ?? 0));
  }
  const names = [...weights].sort((a, b) => b[1] - a[1]).map(([name]) => name);
  return names.map(name => {
    const layers = known.map(each => each.get(name));
    const timed = layers.find(layer => layer !== undefined && lengths(layer)[0] !== null);
    return {
      name,
      dense: timed === undefined ? '' : timeOf(timed, lengths(timed)[0]),
      cells: layers.map((layer, index) => (layer === undefined ? absent(reports[index], name) : cellOf(layer))),
    };
  });
}

function cellOf(layer: Seen<Layer>): Cell {
  return {
    time: timeOf(layer, lengths(layer)[1]),
    gone: `${text(layer.pattern)}, ${share(layer.sparsity)} gone`,
    verdict: layer.speed.verdict ?? 'not measured',
  };
}

function timeOf({ estimate }: Seen<Layer>, taken: number | null): string {
  return taken === null ? '' : estimate === null ? `${threeDigits(taken)} µs` : count(taken);
}

/** A layer that a run has not pruned. */
function absent(report: SeenReport | undefined, name: string): Cell {
  const isNamed = (each: { name: string | null }) => text(each.name) === name;
  const gone =
    report?.returned.some(isNamed) === true
      ? 'dense again'
      : report?.skipped.some(isNamed) === true
        ? 'left dense'
        : 'not in this run';
  return { time: '', gone, verdict: 'not measured' };
}
