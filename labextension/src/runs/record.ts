/**
 * The runs that a notebook keeps in its metadata after their outputs have gone: reports without what is large.
 *
 * A record is a report, so that it is read field by field as any other, and nothing in it is trusted or run.
 */
import type { Layer, Report, Samples } from '../report';
import { type Seen, read } from '../view/reading';

type SeenReport = Seen<Report>;

export const METADATA = 'jupyter-hwprune';
export const MOST_RUNS = 40;
export const MOST_CHARACTERS = 600_000; // of all records together
const LONGEST_RECORD = 60_000;
const LONGEST_KEY = 80;

/** A run, and the cell that showed it. */
export interface Kept {
  cellId: string;
  report: SeenReport;
}

/** The kept runs, newest first, and how many older ones were dropped for room. */
export interface Book {
  kept: Kept[];
  dropped: number;
}

/** What tells a run from all others: when it was made, of what, and by which toolchain. */
export function keyOf({ created, fingerprints, request }: SeenReport): string {
  return [created, fingerprints.pruned, request.toolchain, request.target]
    .map(each => (each ?? '').slice(0, LONGEST_KEY))
    .join(' ');
}

/** Read a notebook's metadata, of unknown origin. */
export function readBook(metadata: unknown): Book {
  const { runs, dropped } = fields(metadata);
  const kept = (Array.isArray(runs) ? runs.slice(0, MOST_RUNS) : []).flatMap((each: unknown) => {
    const { cell, report } = fields(each);
    const reading = typeof report === 'object' ? read(report) : '';
    return typeof reading === 'string'
      ? []
      : [{ cellId: typeof cell === 'string' ? cell : '', report: reading.report }];
  });
  return { kept, dropped: typeof dropped === 'number' && dropped > 0 ? Math.floor(dropped) : 0 };
}

/** What to write into the metadata: as many of the newest runs as there is room for. */
export function written({ kept, dropped }: Book): Record<string, unknown> {
  const newest = [...kept].sort((a, b) => (b.report.created ?? '').localeCompare(a.report.created ?? ''));
  const runs: { cell: string; report: unknown }[] = [];
  let left = MOST_CHARACTERS;
  for (const { cellId, report } of newest.slice(0, MOST_RUNS)) {
    const record = thin(report);
    left -= JSON.stringify(record).length;
    if (left < 0) {
      break;
    }
    runs.push({ cell: cellId, report: record });
  }
  return { runs, dropped: dropped + kept.length - runs.length };
}

const NO_SAMPLES: Seen<Samples> = { wall_ms: [], cpu_ms: [] };

/** A report without pictures, samples, scans, and the words that its numbers say as well. */
export function thin(report: SeenReport): Record<string, unknown> {
  const { measurement, energy, corners, runtimes, words, request } = report;
  const bare = {
    ...report,
    layers: [] as unknown[],
    measurement:
      measurement.kind === 'timed'
        ? { ...measurement, dense: NO_SAMPLES, control: NO_SAMPLES, pruned: NO_SAMPLES, pruned_again: null }
        : measurement,
    energy: energy && { ...energy, dense: windowless(energy.dense), pruned: windowless(energy.pruned) },
    baselines: report.baselines.map(each => ({ ...each, before: null, after: null })),
    corners: corners && { ...corners, rows: corners.rows.map(each => ({ ...each, samples: null })) },
    runtimes: runtimes && { ...runtimes, rows: runtimes.rows.map(each => ({ ...each, timed: null })) },
    request: { ...request, recipe: request.recipe && { ...request.recipe, text: '' } },
    sensitivity: null,
    hotspots: null,
    words: words && { ...words, columns: [], notes: [], returned: [], left_dense: [] },
  };
  const costliest = [...report.layers].sort((a, b) => cost(b) - cost(a)).map(thinLayer);
  let room = LONGEST_RECORD - JSON.stringify(bare).length;
  for (const layer of costliest) {
    room -= JSON.stringify(layer).length + 1;
    if (room < 0) {
      break;
    }
    bare.layers.push(layer);
  }
  const left = costliest.length - bare.layers.length;
  const omitted = [
    'This notebook keeps a short form of this run: masks, samples and scans went with its output.',
    ...(left > 0 ? [`${left} layers that take less time than these were not kept.`] : []),
  ];
  return { ...bare, omitted };
}

type SeenLayer = Seen<Layer>;

/** Of what a layer may lack, only what is known. */
function thinLayer(layer: SeenLayer): Record<string, unknown> {
  const { speed, name, kind, shape, pruned_shape, pattern, sparsity, macs, pruned_macs, valid, valid_groups } = layer;
  const { used, kernel, pruned_kernel, dense_us, pruned_us, evidence, estimate } = layer;
  const rest = { used, kernel, pruned_kernel, dense_us, pruned_us, evidence, estimate };
  const known = Object.entries(rest).filter(([, value]) => value !== null);
  return {
    ...{ name, kind, shape, pruned_shape, pattern, sparsity, macs, pruned_macs, valid, valid_groups, picture: null },
    ...(speed.verdict === null || speed.verdict === 'not measured' ? {} : { speed }),
    ...Object.fromEntries(known),
  };
}

function windowless<Side extends { windows_mj: number[] }>(side: Side | null): Side | null {
  return side && { ...side, windows_mj: [] };
}

function cost(layer: SeenLayer): number {
  return layer.dense_us ?? layer.estimate?.dense ?? layer.macs ?? 0;
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
