import type { Layer } from '../../report';
import { element } from '../elements';
import { thumbnailOf } from '../heatmap/zoom';
import type { Seen } from '../reading';
import { middleCut, text, type Cells, type Row } from '../words';
import type { Value } from './choosing';

type SeenLayer = Seen<Layer>;

export interface Column {
  /** How the style and the words know it: the least important go first where there is little room. */
  key: string;
  /** What to sort by; nothing to sort by where there is none. */
  value?: (layer: SeenLayer) => Value;
  /** Whether the largest come first at the first click. */
  descending?: boolean;
  /** What is drawn in the place of its words. */
  draw?: (row: Row, longest: number) => Node | string | null;
}

const LONGEST_KERNEL = 26;

/** All but the first, which names the layer and opens it. */
export const COLUMNS: readonly Column[] = [
  { key: 'weight', value: weights, descending: true },
  { key: 'pattern', value: layer => layer.pattern, draw: ({ layer }) => text(layer.pattern) },
  { key: 'removed', value: layer => layer.sparsity, descending: true },
  { key: 'macs', value: layer => layer.macs, descending: true },
  { key: 'time', value: layer => lengths(layer)[0], descending: true, draw: timeCell },
  { key: 'valid', value: layer => layer.valid_groups },
  { key: 'used', value: layer => layer.used },
  { key: 'faster', value: layer => layer.speed.speedup, descending: true, draw: speedCell },
  { key: 'kernel', value: layer => layer.pruned_kernel, draw: kernelCell },
  { key: 'mask', draw: thumbnailOf },
];

export function headOf({ key }: Column, heads: Cells): string {
  return heads[key as keyof Cells] ?? key;
}

export function cellOf(column: Column, row: Row, longest: number): Node | string | null {
  return column.draw === undefined ? (row.cells[column.key as keyof Cells] ?? '') : column.draw(row, longest);
}

/** What the bars of dense and pruned stand for: times, or a compiler's estimates. */
export function lengths({ estimate, dense_us, pruned_us }: SeenLayer): [number | null, number | null] {
  return estimate === null ? [dense_us, pruned_us] : [estimate.dense, estimate.pruned];
}

function weights(layer: SeenLayer): number {
  return layer.shape.reduce((product, side) => product * side, 1);
}

function speedCell({ layer, cells }: Row): HTMLElement {
  const attributes = { 'data-verdict': layer.speed.verdict ?? 'not measured' };
  return element('span', { class: 'hwprune-speed', attributes }, cells.faster ?? '');
}

/** The dense kernel and what took its place, each short enough to stand beside the other. */
function kernelCell({ cells }: Row): HTMLElement {
  const said = cells.kernel ?? '';
  const short = said
    .split(' → ')
    .map(each => middleCut(each, LONGEST_KERNEL))
    .join(' → ');
  return element('span', { class: 'hwprune-kernel', attributes: { title: said } }, short);
}

/** Dense above pruned, to one scale over all layers. */
function timeCell({ layer, cells }: Row, longest: number): Node | string {
  const said = cells.time ?? '';
  const [dense, pruned] = lengths(layer);
  if (dense === null || pruned === null || longest <= 0) {
    return said;
  }
  const bar = (side: string, length: number) => {
    const made = element('div', { class: 'hwprune-bar', attributes: { 'data-side': side } });
    made.style.width = `${Math.max(1, (100 * length) / longest)}%`;
    return made;
  };
  const side = layer.estimate !== null ? 'estimate' : layer.speed.verdict === 'slower' ? 'slower' : 'pruned';
  return element(
    'div',
    { class: 'hwprune-time' },
    element('span', {}, said),
    element(
      'div',
      { class: 'hwprune-bars', attributes: { 'aria-hidden': 'true' } },
      bar('dense', dense),
      bar(side, pruned)
    )
  );
}
