import { element, pairs } from '../elements';
import { share } from '../format';
import { heatmap } from '../heatmap/zoom';
import { intervalStrip } from '../verdict';
import { text, type Cells, type Row } from '../words';

/** All that is known of one layer: its mask large, and every fact. */
export function detail(row: Row, heads: Cells): HTMLElement {
  return element('div', { class: 'hwprune-detail' }, heatmap(row), pairs(layerFacts(row, heads)));
}

function layerFacts({ layer, cells }: Row, heads: Cells): [string, Node | string][] {
  const { removed, valid, faster, ...others } = cells;
  const groups = layer.valid_groups === null ? '' : ` (${share(layer.valid_groups)} of groups hold the pattern)`;
  const judged = element('span', { class: 'hwprune-judged' }, text(faster ?? null), intervalStrip(layer.speed));
  const rest = Object.entries(others).filter(([, said]) => said !== '');
  return [
    ['layer', `${text(layer.name) || 'the model itself'} (${text(layer.kind)})`],
    ['pattern', `${text(layer.pattern)}, ${text(removed ?? null)} removed`],
    ['valid', `${text(valid ?? null)}${groups}`],
    ['faster', judged],
    ...rest.map(([key, said]): [string, string] => [heads[key as keyof Cells] ?? key, said]),
    ...(layer.evidence === null ? [] : [['evidence', layer.evidence] as [string, string]]),
  ];
}
