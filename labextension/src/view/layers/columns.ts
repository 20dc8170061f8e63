import type { Layer } from '../../report';
import { element } from '../elements';
import { share } from '../format';
import { thumbnailOf } from '../heatmap/zoom';
import type { Seen } from '../reading';
import { kernels, macs, middleCut, shapes, speed, text, times, valid, yesNo } from '../words';
import type { Value } from './choosing';

type SeenLayer = Seen<Layer>;

export interface Column {
  name: string;
  /** How the style knows it: the least important go first where there is little room. */
  key: string;
  /** What to sort by; nothing to sort by where there is none. */
  value?: (layer: SeenLayer) => Value;
  /** Whether the largest come first at the first click. */
  descending?: boolean;
  cell: (layer: SeenLayer, longest: number) => Node | string | null;
}

/** All but the first, which names the layer and opens it. */
export const COLUMNS: readonly Column[] = [
  { name: 'weight', key: 'weight', value: weights, descending: true, cell: shapes },
  { name: 'pattern', key: 'pattern', value: layer => layer.pattern, cell: layer => text(layer.pattern) },
  { name: 'removed', key: 'removed', value: l => l.sparsity, descending: true, cell: l => share(l.sparsity) },
  { name: 'MACs', key: 'macs', value: layer => layer.macs, descending: true, cell: macs },
  { name: 'time, µs', key: 'time', value: layer => layer.dense_us, descending: true, cell: timeCell },
  { name: 'valid', key: 'valid', value: layer => layer.valid_groups, cell: valid },
  { name: 'used', key: 'used', value: layer => layer.used, cell: layer => yesNo(layer.used) },
  { name: 'faster', key: 'faster', value: l => l.speed.speedup, descending: true, cell: speedCell },
  { name: 'kernel', key: 'kernel', value: layer => layer.pruned_kernel, cell: l => middleCut(kernels(l), 44) },
  { name: 'mask', key: 'mask', cell: thumbnailOf },
];

function weights(layer: SeenLayer): number {
  return layer.shape.reduce((product, side) => product * side, 1);
}

function speedCell(layer: SeenLayer): HTMLElement {
  const attributes = { 'data-verdict': layer.speed.verdict ?? 'not measured' };
  return element('span', { class: 'hwprune-speed', attributes }, speed(layer.speed));
}

/** Dense above pruned, to one scale over all layers. */
function timeCell(layer: SeenLayer, longest: number): Node | string {
  const { dense_us: dense, pruned_us: pruned } = layer;
  if (dense === null || pruned === null || longest <= 0) {
    return times(layer);
  }
  const bar = (side: string, us: number) => {
    const made = element('div', { class: 'hwprune-bar', attributes: { 'data-side': side } });
    made.style.width = `${Math.max(1, (100 * us) / longest)}%`;
    return made;
  };
  const slower = layer.speed.verdict === 'slower' ? 'slower' : 'pruned';
  return element(
    'div',
    { class: 'hwprune-time' },
    element('span', {}, times(layer)),
    element(
      'div',
      { class: 'hwprune-bars', attributes: { 'aria-hidden': 'true' } },
      bar('dense', dense),
      bar(slower, pruned)
    )
  );
}
