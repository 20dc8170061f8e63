import { steps } from '../axes';
import { drawing } from '../elements';
import { general } from '../format';
import { middleCut } from '../words';
import { NAMED, type Line, type Plot } from './plot';

const [WIDTH, HEIGHT] = [720, 340];
const [LEFT, TOP, RIGHT, BOTTOM] = [58, 10, 520, 296]; // the axes; names stand to their right
const NAME_GAP = 15;
const NAME_WIDTH = 30;
// Okabe and Ito's palette without its yellow, which white paper swallows; dashed the second time round
const COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00'];

/** The curves of a scan: a line a layer, named at its end, a dot where the layer was pruned. */
export function chart(plot: Plot, measure: string, label: string): SVGElement {
  const x = (sparsity: number) => round(LEFT + sparsity * (RIGHT - LEFT));
  const y = (error: number) => round(BOTTOM - (BOTTOM - TOP) * height(plot, error));
  return drawing(
    'svg',
    { class: 'hwprune-chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
    ...frame(plot, x, y, measure),
    ...plot.lines.map(line => curve(line, x, y)),
    ...names(plot, x, y)
  );
}

/** Where an error lies between the axes' ends, 0 to 1. */
function height({ log, low, high }: Plot, error: number): number {
  const part = log ? Math.log(Math.max(error, low) / low) / Math.log(high / low) : (error - low) / (high - low || 1);
  return Math.min(1, Math.max(0, part));
}

type Scale = (value: number) => number;

function frame(plot: Plot, x: Scale, y: Scale, measure: string): SVGElement[] {
  const across = [0, 0.25, 0.5, 0.75, 1].flatMap(at => [
    drawing('line', { class: 'hwprune-grid', x1: x(at), x2: x(at), y1: TOP, y2: BOTTOM }),
    drawing('text', { x: x(at), y: BOTTOM + 15, 'text-anchor': 'middle' }, `${100 * at} %`),
  ]);
  const up = ticks(plot).flatMap(at => [
    drawing('line', { class: 'hwprune-grid', x1: LEFT, x2: RIGHT, y1: y(at), y2: y(at) }),
    drawing('text', { x: LEFT - 6, y: y(at) + 4, 'text-anchor': 'end' }, general(at, 2)),
  ]);
  const middle = (TOP + BOTTOM) / 2;
  const turned = `translate(12 ${middle}) rotate(-90)`;
  return [
    ...across,
    ...up,
    drawing('text', { x: (LEFT + RIGHT) / 2, y: HEIGHT - 8, 'text-anchor': 'middle' }, 'sparsity of that layer'),
    drawing('text', { transform: turned, 'text-anchor': 'middle' }, measure),
  ];
}

export function ticks({ log, low, high }: Plot): number[] {
  if (log) {
    const [from, to] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
    return Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => 10 ** (from + index));
  }
  return steps(low, high);
}

function curve(line: Line, x: Scale, y: Scale): SVGElement {
  const points = line.places.map(([at, error]) => `${x(at)},${y(error)}`).join(' ');
  const group = drawing(
    'g',
    style(line),
    drawing('title', {}, middleCut(line.layer, 60)),
    drawing('polyline', { points })
  );
  if (line.chosen !== null) {
    group.append(drawing('circle', { cx: x(line.chosen[0]), cy: y(line.chosen[1]), r: line.rank === null ? 2 : 4 }));
  }
  if (line.broken !== null) {
    const [at, size] = [x(line.broken), 4];
    const cross = `M${at - size} ${TOP - size}l${2 * size} ${2 * size}m0 ${-2 * size}l${-2 * size} ${2 * size}`;
    group.append(drawing('path', { d: cross }));
  }
  return group;
}

/** Each name beside its line's end, moved apart where two would meet. */
function names(plot: Plot, x: Scale, y: Scale): SVGElement[] {
  const ends = plot.lines.flatMap(line => {
    const [at, error] = line.places.at(-1) ?? [0, plot.low];
    const end = line.broken === null ? ([x(at), y(error)] as const) : ([x(line.broken), TOP] as const);
    return line.rank === null ? [] : [{ line, end }];
  });
  ends.sort((a, b) => a.end[1] - b.end[1] || (a.line.rank ?? 0) - (b.line.rank ?? 0));
  const places = apart(
    ends.map(({ end }) => end[1]),
    BOTTOM
  );
  return ends.map(({ line, end }, index) => {
    const place = places[index] ?? end[1];
    const points = `${end[0]},${end[1]} ${RIGHT + 12},${place} ${RIGHT + 24},${place}`;
    return drawing(
      'g',
      style(line),
      drawing('polyline', { class: 'hwprune-leader', points }),
      drawing('text', { x: RIGHT + 28, y: place + 4 }, middleCut(line.layer, NAME_WIDTH))
    );
  });
}

/** Move places, given from the top down, as little as keeps them apart and above `bottom`. */
export function apart(wanted: readonly number[], bottom: number, gap = NAME_GAP): number[] {
  const places: number[] = [];
  for (const want of wanted) {
    places.push(Math.max(want, (places.at(-1) ?? -Infinity) + gap));
  }
  let lowest = bottom;
  for (let index = places.length - 1; index >= 0; index--) {
    places[index] = Math.min(places[index] ?? lowest, lowest);
    lowest = (places[index] ?? lowest) - gap;
  }
  return places;
}

function style(line: Line): Record<string, string> {
  if (line.rank === null) {
    return { class: 'hwprune-curve hwprune-other' };
  }
  const colour = COLOURS[line.rank % COLOURS.length] ?? '';
  const dashes = line.rank < NAMED / 2 ? {} : { 'stroke-dasharray': '5 3' };
  return { class: 'hwprune-curve', style: `--hwprune-line: ${colour}`, ...dashes };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
