import type { Report, Sensitivity } from '../../report';
import { element, folded, section } from '../elements';
import { count, counted, general, share } from '../format';
import type { Seen } from '../reading';
import { middleCut, text } from '../words';
import { chart } from './chart';
import { NAMED, bySensitivity, plotted } from './plot';

const MEASURES = { 'output error': 'error of the outputs (mean square, relative)', score: 'drop of the score' };
const [MOST_ROWS, MOST_LEVELS] = [60, 8];

/** What pruning each layer alone does to the model: a picture, and the same as a table. */
export function sensitivity({ sensitivity: scan, layers }: Seen<Report>): HTMLElement | null {
  if (scan === null || scan.curves.length === 0) {
    return null;
  }
  const chosen = new Map(layers.flatMap(each => (each.sparsity === null ? [] : [[each.name ?? '', each.sparsity]])));
  const plot = plotted(scan, chosen);
  const measure = MEASURES[scan.measure ?? 'output error'];
  const rest = scan.curves.length - NAMED;
  const how = [
    said(scan),
    rest > 0 ? `${counted(rest, 'less sensitive layer')} in grey` : '',
    plot.greyLeftOut > 0 ? `${plot.greyLeftOut} of them only in the table` : '',
    chosen.size > 0 ? '● chosen' : '',
  ];
  const label = `Each of ${counted(scan.curves.length, 'layer')} pruned alone, all others dense: ${measure}`;
  return section(
    'How sensitive each layer is',
    element('p', { class: 'hwprune-quiet' }, how.filter(Boolean).join('; ')),
    chart(plot, measure, `${label}; the table below has the numbers`),
    folded(`${measure}, as a table`, table(scan, chosen))
  );
}

/** What the scan rests on. */
function said({ rows, passes }: Seen<Sensitivity>): string {
  const on = rows === null ? "the user's score" : `${counted(rows, 'row')} of calibration data`;
  return `${on}, ${passes === null ? 'unknown' : passes.toLocaleString('en')} passes`;
}

function table(scan: Seen<Sensitivity>, chosen: ReadonlyMap<string, number>): HTMLElement {
  const curves = bySensitivity(scan);
  const levels = commonLevels(scan);
  const head = ['layer', 'weights', ...levels.map(level => `${level} %`), ...(chosen.size > 0 ? ['chosen'] : [])];
  const rows = curves.slice(0, MOST_ROWS).map(curve => {
    const errors = new Map(curve.points.map(point => [Math.round(100 * (point.sparsity ?? 0)), point.error]));
    const cells = levels.map(level => {
      const error = errors.get(level);
      return error === undefined ? '' : error === null ? 'not finite' : general(error, 2);
    });
    const at = chosen.get(curve.layer ?? '');
    const last = chosen.size > 0 ? [at === undefined ? 'dense' : share(at)] : [];
    const name = element('th', { attributes: { scope: 'row' } }, middleCut(text(curve.layer), 60));
    return element('tr', {}, name, ...[count(curve.weights), ...cells, ...last].map(cell => element('td', {}, cell)));
  });
  const heads = head.map(name => element('th', { attributes: { scope: 'col' } }, name));
  const made = element('table', {}, element('thead', {}, element('tr', {}, ...heads)), element('tbody', {}, ...rows));
  const left = curves.length - rows.length;
  const more = left > 0 ? `${counted(left, 'layer')} less sensitive than these are not shown.` : null;
  return element('div', { class: 'hwprune-scroll' }, made, more === null ? null : element('p', {}, more));
}

/** The sparsities at which most layers were tried, rising. */
function commonLevels(scan: Seen<Sensitivity>): number[] {
  const numbers = new Map<number, number>();
  for (const point of scan.curves.flatMap(curve => curve.points)) {
    const level = Math.round(100 * (point.sparsity ?? 0));
    numbers.set(level, (numbers.get(level) ?? 0) + 1);
  }
  const common = [...numbers].sort((a, b) => b[1] - a[1]).slice(0, MOST_LEVELS);
  return common.map(([level]) => level).sort((a, b) => a - b);
}
