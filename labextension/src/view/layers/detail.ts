import type { Layer } from '../../report';
import { element, pairs } from '../elements';
import { fixed, share } from '../format';
import { heatmap } from '../heatmap/zoom';
import type { Seen } from '../reading';
import { intervalStrip } from '../verdict';
import { text, type Cells, type Row } from '../words';

/** All that is known of one layer: its mask large, and every fact. */
export function detail(row: Row, heads: Cells): HTMLElement {
  return element('div', { class: 'hwprune-detail' }, heatmap(row), pairs(layerFacts(row, heads)));
}

function layerFacts({ layer, cells }: Row, heads: Cells): [string, Node | string][] {
  const said = (key: keyof Cells): [string, Node | string][] => {
    const cell = cells[key] ?? '';
    return cell === '' ? [] : [[heads[key] ?? key, drawn(key, cell, layer)]];
  };
  return [
    ['layer', `${text(layer.name) || 'the model itself'} (${text(layer.kind)})`],
    ...said('weight'),
    ['pattern', text(layer.pattern)],
    ...KEYS.flatMap(said),
    ...(layer.evidence === null ? [] : [['evidence', layer.evidence] as [string, string]]),
  ];
}

const KEYS: readonly (keyof Cells)[] = [
  ...(['removed', 'macs', 'time', 'valid', 'used', 'faster', 'kernel'] as const),
  ...(['alone', 'served', 'counters', 'compressed', 'error'] as const),
];

/** A cell with what its numbers add to it. */
function drawn(key: keyof Cells, cell: string, { valid_groups: groups, speed }: Seen<Layer>): Node | string {
  if (key === 'valid' && groups !== null) {
    return `${cell} (${share(groups)} of groups hold the pattern)`;
  }
  const { low, high } = speed;
  if (key !== 'faster' || low === null || high === null) {
    return cell;
  }
  const range = `${cell} (95 % interval ${fixed(low, 2)} to ${fixed(high, 2)})`;
  return element('span', { class: 'hwprune-judged' }, range, intervalStrip(speed));
}
