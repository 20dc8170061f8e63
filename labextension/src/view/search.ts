/** What a search tried: score, or what is left of the weights, against time. */
import type { Search, SearchPoint, Words } from '../report';
import { section } from './elements';
import { fixed, general, milliseconds, share } from './format';
import { type Mark, frontier } from './frontier';
import { models } from './models';
import type { Seen } from './reading';
import { text } from './words';

/** The plot of what a search measured, a click in which shows a plan's row. */
export function searched(search: Seen<Search> | null, words: Seen<Words>): HTMLElement | null {
  if (search === null) {
    return null;
  }
  const table = models(words.search);
  const rows = [...(table?.querySelectorAll('tbody tr') ?? [])];
  const show = (shown: Element) => () => {
    for (const row of rows) {
      row.toggleAttribute('aria-current', row === shown);
    }
    shown.scrollIntoView({ block: 'nearest' });
  };
  const scored = isScored(search);
  const slowestFirst = [...search.points].sort((a, b) => part(b) - part(a)); // as the table has them
  const marks = slowestFirst.flatMap((point, index) => {
    const mark = markOf(search, point, scored);
    const row = rows.length === slowestFirst.length ? rows[index] : undefined;
    return mark === null ? [] : [row === undefined ? mark : { ...mark, open: show(row) }];
  });
  const plot = frontier([...marks, ...denseOf(search, scored)], {
    x: `time, ${text(search.unit)}`,
    y: scored ? 'score' : 'share of the weights left',
    label: `${scored ? 'Score' : 'Weights left'} against time of each plan that the search measured`,
    rising: false,
  });
  return section('What the search tried', plot, table);
}

/** Whether any plan was scored; else the plans are told apart by the weights that they leave. */
export function isScored(search: Seen<Search>): boolean {
  return search.points.some(({ score }) => score !== null);
}

/** A plan's place by time, and by score or the weights left; null where one is not known. */
export function markOf(search: Seen<Search>, point: Seen<SearchPoint>, scored: boolean): Mark | null {
  const [x, y] = [point.time, scored ? point.score : point.kept];
  if (x === null || y === null) {
    return null;
  }
  const time = search.unit === 'ms' ? milliseconds(x) : `${general(x, 3)} ${text(search.unit)}`;
  const speedup = point.dense_time === null || x <= 0 ? '' : `, ${fixed(point.dense_time / x, 2)}x`;
  const said = `${text(point.name)}: ${time}${speedup}, ${scored ? `score ${general(y, 4)}` : `${share(y)} of the weights left`}`;
  return { x, y, kind: point.chosen === true ? 'chosen' : 'tried', said };
}

function part({ time, dense_time }: Seen<SearchPoint>): number {
  return (time ?? 0) / (dense_time ?? 1);
}

function denseOf(search: Seen<Search>, scored: boolean): Mark[] {
  const x = search.points[0]?.dense_time ?? null;
  const y = scored ? search.dense_score : 1;
  return x === null || y === null
    ? []
    : [{ x, y, kind: 'dense', said: `dense: ${general(x, 3)} ${text(search.unit)}` }];
}
