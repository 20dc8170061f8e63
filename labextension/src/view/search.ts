/** What a search tried: score, or what is left of the weights, against time. */
import type { Search, SearchPoint, Words } from '../report';
import { drawing, section } from './elements';
import { general } from './format';
import { models } from './models';
import type { Seen } from './reading';
import { text } from './words';

const [WIDTH, HEIGHT] = [720, 300];
const [LEFT, TOP, RIGHT, BOTTOM] = [58, 14, 700, 250];
const [STEPS, HEADROOM] = [4, 1.08];

interface Place {
  x: number;
  y: number;
  said: string;
  chosen: boolean;
}

export function searched(search: Seen<Search> | null, words: Seen<Words>): HTMLElement | null {
  if (search === null) {
    return null;
  }
  return section('What the search tried', frontier(search), models(words.search));
}

/** A point for each plan that was scored, or for each at all where none was; the chosen one stands out. */
function frontier(search: Seen<Search>): SVGElement | null {
  const scored = search.points.filter(({ score }) => score !== null);
  const isScored = scored.length > 0;
  const places = (isScored ? scored : search.points).flatMap(point => placed(point, isScored));
  if (places.length === 0) {
    return null;
  }
  const most = HEADROOM * Math.max(...places.map(({ x }) => x));
  const heights = places.map(({ y }) => y);
  const [low, high] = [Math.min(0, ...heights), Math.max(...heights)];
  const x = (time: number): number => Math.round(LEFT + (time / most) * (RIGHT - LEFT));
  const y = (height: number): number => Math.round(BOTTOM - ((height - low) / (high - low || 1)) * (BOTTOM - TOP));
  const label = `${isScored ? 'Score' : 'Weights left'} against time of each plan that the search measured`;
  const parts = Array.from({ length: STEPS + 1 }, (_, step) => step / STEPS);
  return drawing(
    'svg',
    { class: 'hwprune-chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label },
    ...parts.flatMap(part => across(part * most, x)),
    ...parts.flatMap(part => up(low + part * (high - low), y)),
    drawing('text', { x: (LEFT + RIGHT) / 2, y: HEIGHT - 8, 'text-anchor': 'middle' }, `time, ${text(search.unit)}`),
    drawing(
      'text',
      { transform: `translate(12 ${(TOP + BOTTOM) / 2}) rotate(-90)`, 'text-anchor': 'middle' },
      isScored ? 'score' : 'share of the weights left'
    ),
    ...places.map(place =>
      drawing(
        'circle',
        {
          class: place.chosen ? 'hwprune-plan hwprune-chosen-plan' : 'hwprune-plan',
          cx: x(place.x),
          cy: y(place.y),
          r: place.chosen ? 6 : 4,
        },
        drawing('title', {}, place.said)
      )
    )
  );
}

function placed(point: Seen<SearchPoint>, isScored: boolean): Place[] {
  const [x, y] = [point.time, isScored ? point.score : point.kept];
  return x === null || y === null ? [] : [{ x, y, said: text(point.name), chosen: point.chosen === true }];
}

function across(at: number, x: (value: number) => number): SVGElement[] {
  return [
    drawing('line', { class: 'hwprune-grid', x1: x(at), x2: x(at), y1: TOP, y2: BOTTOM }),
    drawing('text', { x: x(at), y: BOTTOM + 16, 'text-anchor': 'middle' }, general(at, 2)),
  ];
}

function up(at: number, y: (value: number) => number): SVGElement[] {
  return [
    drawing('line', { class: 'hwprune-grid', x1: LEFT, x2: RIGHT, y1: y(at), y2: y(at) }),
    drawing('text', { x: LEFT - 6, y: y(at) + 4, 'text-anchor': 'end' }, general(at, 2)),
  ];
}
