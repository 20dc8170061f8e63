import type { Comparison, Fact, Words } from '../report';
import { drawing, element, pairs, withCode } from './elements';
import { fixed } from './format';
import type { Seen } from './reading';
import { text } from './words';

/** What was asked, the verdict, the score that it costs, what it rests on. */
export function verdict(words: Seen<Words>, comparison: Seen<Comparison>): HTMLElement {
  const attributes = { 'data-verdict': words.badge ?? 'not measured' };
  const badge = element('span', { class: 'hwprune-badge', attributes }, text(words.headline));
  const evidence = words.facts.filter(fact => fact.evidence !== false);
  const score = words.facts.find(isScore);
  return element(
    'section',
    { class: 'hwprune-verdict' },
    element('h3', {}, text(words.title)),
    element(
      'div',
      { class: 'hwprune-headline' },
      badge,
      intervalStrip(comparison),
      words.interval === null ? null : element('span', { class: 'hwprune-quiet' }, words.interval)
    ),
    score === undefined ? null : pairs([['score', element('b', {}, text(score.said))]], 'hwprune-pairs hwprune-score'),
    pairs(evidence.map(({ name, said }) => [text(name), withCode(text(said))]))
  );
}

/** It stands beside the verdict, and not with what else the model kept. */
export function isScore({ name, evidence }: Seen<Fact>): boolean {
  return name === 'score' && evidence === false;
}

const WIDTH = 240;
const HEIGHT = 32;
/** The same for all reports, so that they compare at a glance; what lies beyond stands at the end. */
const SCALE = { from: 0.5, to: 8, ticks: [0.5, 1, 2, 4, 8] };

/** The interval on a line, with the band of the noise that it has to clear. */
export function intervalStrip({ speedup, low, high, noise_floor: floor }: Seen<Comparison>): SVGElement | null {
  if (speedup === null || low === null || high === null || floor === null || Math.min(low, speedup) <= 0) {
    return null;
  }
  const { from, to, ticks } = SCALE;
  const room = 16; // for the numbers at both ends
  const x = (ratio: number) => {
    const part = Math.log(Math.min(Math.max(ratio, from), to) / from) / Math.log(to / from);
    return round(room + (WIDTH - 2 * room) * part);
  };
  const [top, middle, bottom] = [2, 10, 18];
  const line = (name: string, x1: number, x2: number, y1: number, y2: number) =>
    drawing('line', { class: name, x1, x2, y1, y2 });
  const [left, right] = [x(1 / (1 + floor)), x(1 + floor)];
  return drawing(
    'svg',
    { class: 'hwprune-strip', width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    drawing('rect', { class: 'hwprune-noise', x: left, y: top, width: round(right - left), height: bottom - top }),
    line('hwprune-axis', 0, WIDTH, bottom, bottom),
    line('hwprune-one', x(1), x(1), top, bottom),
    ...ticks.map(tick => drawing('text', { x: x(tick), y: HEIGHT - 2, 'text-anchor': 'middle' }, `${tick}x`)),
    line('hwprune-whisker', x(low), x(high), middle, middle),
    drawing('circle', { class: 'hwprune-point', cx: x(speedup), cy: middle, r: 4 }),
    drawing('title', {}, `1x and the noise about it, and ${fixed(low, 2)}x to ${fixed(high, 2)}x`)
  );
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
