/** A scan reduced to what is drawn, as the Python side does it (render/sensitivity.py). */
import type { Curve, Sensitivity } from '../../report';
import type { Seen } from '../reading';

type SeenCurve = Seen<Curve>;
type Place = readonly [x: number, y: number];

export const NAMED = 12; // lines with a colour and a name; all others are grey
const GREY_LINES = 30; // more would be a grey field
const DECADES = 1.5; // errors that span more are drawn on a logarithmic axis
const DEEPEST = 6; // decades below the largest error are not drawn

export interface Line {
  layer: string;
  places: Place[];
  /** Where the layer was pruned in the end. */
  chosen: Place | null;
  /** The least sparsity at which the error was no number. */
  broken: number | null;
  /** Its place among the most sensitive, null for the grey ones. */
  rank: number | null;
}

export interface Plot {
  /** The least sensitive first, as they are drawn. */
  lines: Line[];
  log: boolean;
  low: number;
  high: number;
  greyLeftOut: number;
}

/** The curves, the one with the largest mean error first; what is no number is worse than all others. */
export function bySensitivity(scan: Seen<Sensitivity>): SeenCurve[] {
  const badness = new Map(
    scan.curves.map(curve => {
      const errors = finite(curve).map(([, error]) => error);
      const mean = errors.reduce((sum, error) => sum + error, 0) / Math.max(1, errors.length);
      return [curve, [curve.points.length - errors.length, mean] as const];
    })
  );
  return [...scan.curves].sort((a, b) => {
    const [[aBroken, aMean], [bBroken, bMean]] = [badness.get(a) ?? [0, 0], badness.get(b) ?? [0, 0]];
    return bBroken - aBroken || bMean - aMean;
  });
}

export function plotted(scan: Seen<Sensitivity>, chosen: ReadonlyMap<string, number>): Plot {
  const all = scan.curves.flatMap(curve => finite(curve).map(([, error]) => error));
  const errors = all.filter(error => error > 0).sort((a, b) => a - b);
  const high = errors.at(-1) ?? 1;
  const log = high / (errors[Math.floor(errors.length / 20)] ?? high) > 10 ** DECADES;
  const floor = Math.max(errors[0] ?? high, high * 10 ** -DEEPEST);
  const low = log ? floor / 1.5 : all.reduce((least, error) => Math.min(least, error), 0);
  const curves = bySensitivity(scan);
  const every = Math.max(1, Math.ceil((curves.length - NAMED) / GREY_LINES));
  const lines = curves.flatMap((curve, rank) => {
    const isDrawn = rank < NAMED || (rank - NAMED) % every === 0;
    const line = reduced(curve, rank < NAMED ? rank : null, chosen.get(curve.layer ?? ''), log ? low : null);
    return isDrawn && line.places.length > 0 ? [line] : [];
  });
  const grey = lines.filter(line => line.rank === null).length;
  const greyLeftOut = Math.max(0, curves.length - NAMED) - grey;
  return { lines: lines.reverse(), log, low, high: log ? high * 1.5 : high * 1.06, greyLeftOut };
}

function reduced(curve: SeenCurve, rank: number | null, at: number | undefined, floor: number | null): Line {
  const points = finite(curve);
  const broken = curve.points.flatMap(point =>
    point.error === null && point.sparsity !== null ? [point.sparsity] : []
  );
  const places: Place[] = floor === null ? [[0, 0], ...points] : points.map(([x, y]): Place => [x, Math.max(y, floor)]);
  const spot: Place | null = at === undefined || points.length === 0 ? null : [at, onLine(places, at, floor)];
  if (spot !== null && !places.some(([x]) => x === spot[0])) {
    places.push(spot);
    places.sort((a, b) => a[0] - b[0]);
  }
  const least = broken.length === 0 ? null : Math.min(...broken);
  return { layer: curve.layer ?? 'unknown', places, chosen: spot, broken: least, rank };
}

function finite(curve: SeenCurve): Place[] {
  return curve.points.flatMap(({ sparsity, error }): Place[] =>
    sparsity === null || error === null ? [] : [[sparsity, error]]
  );
}

/** The height of a drawn line; left of its first point it falls with the square, as small errors do. */
export function onLine(places: readonly Place[], at: number, floor: number | null): number {
  const [first, last] = [places[0], places.at(-1)];
  if (first === undefined || last === undefined) {
    return floor ?? 0;
  }
  if (at <= first[0]) {
    return Math.max(first[0] > 0 ? first[1] * (at / first[0]) ** 2 : 0, floor ?? 0);
  }
  const after = places.findIndex(([x]) => at <= x);
  const [from, to] = [places[after - 1] ?? last, places[after] ?? last];
  if (after < 0) {
    return last[1];
  }
  const part = (at - from[0]) / (to[0] - from[0]);
  return floor === null ? from[1] + part * (to[1] - from[1]) : from[1] * (to[1] / from[1]) ** part;
}
