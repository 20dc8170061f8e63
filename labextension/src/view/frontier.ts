/** A plot of models, one against another in two numbers, such as score against time: runs, dense and int8, plans tried. */
import { ends, steps } from './axes';
import { KEYS, drawing, element } from './elements';
import { general } from './format';

const [WIDTH, HEIGHT] = [720, 320];
const [LEFT, TOP, RIGHT, BOTTOM] = [62, 14, 690, 268];
const LABEL = { right: 10, high: 13, wide: 26 };

export type Kind = 'run' | 'dense' | 'int8' | 'tried' | 'chosen';

export interface Mark {
  x: number;
  y: number;
  kind: Kind;
  /** What it is, in words. */
  said: string;
  /** What stands beside it. */
  label?: string;
  verdict?: string;
  /** What a click does. */
  open?: () => void;
}

export interface Axes {
  x: string;
  y: string;
  /** The whole plot in words. */
  label: string;
  /** Whether a larger x is better, as of a speed-up. */
  rising: boolean;
  /** Whether the marks are steps of one way, joined in their order, rather than rivals. */
  inSteps?: boolean;
}

const WORDS: Record<Kind, string> = {
  run: 'pruned',
  dense: 'dense',
  int8: 'int8',
  tried: 'tried by a search',
  chosen: 'chosen by a search',
};

/** The plot and what its marks mean; nothing where nothing can be drawn. */
export function frontier(marks: Mark[], axes: Axes): HTMLElement | null {
  const drawn = marks.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
  if (drawn.length === 0) {
    return null;
  }
  const [, right] = ends([0, ...drawn.map(({ x }) => x)]);
  const [low, high] = ends(drawn.map(({ y }) => y));
  const x = (value: number) => round(LEFT + (value / right) * (RIGHT - LEFT));
  const y = (value: number) => round(BOTTOM - ((value - low) / (high - low)) * (BOTTOM - TOP));
  const places = drawn.map(mark => ({ mark, at: [x(mark.x), y(mark.y)] as const }));
  const inFront = [...places].sort((a, b) => ORDER.indexOf(a.mark.kind) - ORDER.indexOf(b.mark.kind));
  const plot = drawing(
    'svg',
    { class: 'hwprune-chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'group', 'aria-label': axes.label },
    ...frame(axes, steps(0, right), steps(low, high), x, y),
    line(axes.inSteps ? drawn : front(drawn, axes.rising), x, y),
    ...inFront.map(({ mark, at }) => placed(mark, at)),
    ...labels(places)
  );
  return element('figure', { class: 'hwprune-frontier' }, plot, legend(drawn));
}

const ORDER: readonly Kind[] = ['tried', 'dense', 'int8', 'run', 'chosen']; // the last is drawn over all others

type Scale = (value: number) => number;
type Place = readonly [x: number, y: number];

function frame(axes: Axes, across: number[], up: number[], x: Scale, y: Scale): SVGElement[] {
  const middle = (TOP + BOTTOM) / 2;
  return [
    ...across.flatMap(at => [
      drawing('line', { class: 'hwprune-grid', x1: x(at), x2: x(at), y1: TOP, y2: BOTTOM }),
      drawing('text', { x: x(at), y: BOTTOM + 16, 'text-anchor': 'middle' }, general(at, 4)),
    ]),
    ...up.flatMap(at => [
      drawing('line', { class: 'hwprune-grid', x1: LEFT, x2: RIGHT, y1: y(at), y2: y(at) }),
      drawing('text', { x: LEFT - 6, y: y(at) + 4, 'text-anchor': 'end' }, general(at, 4)),
    ]),
    drawing('text', { x: (LEFT + RIGHT) / 2, y: HEIGHT - 12, 'text-anchor': 'middle' }, axes.x),
    drawing('text', { transform: `translate(13 ${middle}) rotate(-90)`, 'text-anchor': 'middle' }, axes.y),
  ];
}

/** The models that no other one beats in both numbers. */
function front(marks: Mark[], rising: boolean): Mark[] {
  let best = -Infinity;
  return [...marks]
    .sort((a, b) => (rising ? b.x - a.x : a.x - b.x) || b.y - a.y)
    .filter(mark => {
      const isAhead = mark.y > best;
      best = Math.max(best, mark.y);
      return isAhead;
    });
}

function line(marks: Mark[], x: Scale, y: Scale): SVGElement {
  const points = marks.map(mark => `${x(mark.x)},${y(mark.y)}`);
  return drawing('polyline', { class: 'hwprune-front', points: points.join(' ') });
}

function placed({ kind, said, verdict, open }: Mark, at: Place): SVGElement {
  const group = drawing(
    'g',
    { class: 'hwprune-mark', 'data-kind': kind, 'data-verdict': verdict ?? '' },
    drawing('title', {}, said),
    shape(kind, at)
  );
  if (open === undefined) {
    group.setAttribute('role', 'img');
    group.setAttribute('aria-label', said);
    return group;
  }
  for (const [name, value] of Object.entries({ role: 'button', tabindex: '0', 'aria-label': said, ...KEYS })) {
    group.setAttribute(name, value);
  }
  group.addEventListener('click', open);
  group.addEventListener('keydown', event => {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      open();
    }
  });
  return group;
}

function shape(kind: Kind, [x, y]: Place): SVGElement {
  if (kind === 'dense') {
    return drawing('rect', { x: x - 5, y: y - 5, width: 10, height: 10 });
  }
  if (kind === 'int8') {
    return drawing('path', { d: `M${x} ${y - 7}l7 7l-7 7l-7 -7z` });
  }
  return drawing('circle', { cx: x, cy: y, r: kind === 'tried' ? 4 : 6 });
}

/** Each label beside its mark, moved down as far as keeps it apart from those above. */
function labels(places: { mark: Mark; at: Place }[]): SVGElement[] {
  const set: Place[] = [];
  const labelled = places.filter(({ mark }) => mark.label !== undefined).sort((a, b) => a.at[1] - b.at[1]);
  return labelled.map(({ mark, at }) => {
    const x = at[0] + LABEL.right;
    let y = at[1] + 4;
    const near = set.filter(([otherX]) => Math.abs(otherX - x) < LABEL.wide);
    for (const [, otherY] of near) {
      y = Math.abs(otherY - y) < LABEL.high ? otherY + LABEL.high : y;
    }
    set.push([x, y]);
    return drawing('text', { class: 'hwprune-label', x, y, 'aria-hidden': 'true' }, mark.label ?? '');
  });
}

function legend(marks: Mark[]): HTMLElement | null {
  const kinds = ORDER.filter(kind => marks.some(mark => mark.kind === kind));
  const entries = kinds.map(kind =>
    element(
      'span',
      {},
      drawing(
        'svg',
        { viewBox: '0 0 16 16', width: 14, height: 14 },
        drawing('g', { 'data-kind': kind, class: 'hwprune-mark' }, shape(kind, [8, 8]))
      ),
      WORDS[kind]
    )
  );
  return kinds.length < 2
    ? null
    : element('figcaption', { class: 'hwprune-legend', attributes: { 'aria-hidden': 'true' } }, ...entries);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
