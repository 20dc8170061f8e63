/** Which layers are shown, and in what order. */
import type { Layer } from '../../report';
import type { Seen } from '../reading';
import type { Row } from '../words';

type SeenLayer = Seen<Layer>;

export interface State {
  name: string;
  holds: (layer: SeenLayer) => boolean;
}

/** What a reader looks for; a state that no layer is in is not offered. */
export const STATES: readonly State[] = [
  { name: 'faster', holds: layer => layer.speed.verdict === 'faster' },
  { name: 'slower', holds: layer => layer.speed.verdict === 'slower' },
  { name: 'within noise', holds: layer => layer.speed.verdict === 'no measurable gain' },
  { name: 'not measured', holds: layer => layer.speed.verdict === null || layer.speed.verdict === 'not measured' },
  { name: 'not valid', holds: layer => layer.valid === false },
  { name: 'used', holds: layer => layer.used === true },
  { name: 'not used', holds: layer => layer.used === false },
];

/** The layers that hold all words of the text, and are in the state of that name. */
export function chosen(rows: Row[], text: string, state: string): Row[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const holds = STATES.find(each => each.name === state)?.holds ?? (() => true);
  return rows.filter(({ layer, cells }) => {
    const said = [layer.name, layer.kind, layer.pattern, cells.weight, cells.kernel].join(' ').toLowerCase();
    return holds(layer) && words.every(word => said.includes(word));
  });
}

export type Value = number | string | boolean | null;

/** Sorted by a value of each; what is not known comes last either way. */
export function sorted<Item>(items: Item[], value: (item: Item) => Value, descending: boolean): Item[] {
  const direction = descending ? -1 : 1;
  const valued = items.map(item => ({ item, value: value(item) }));
  valued.sort((a, b) => {
    if (a.value === null || b.value === null) {
      return Number(a.value === null) - Number(b.value === null);
    }
    return direction * compared(a.value, b.value);
  });
  return valued.map(each => each.item);
}

const BY_NAME = new Intl.Collator('en', { numeric: true });

function compared(a: Exclude<Value, null>, b: Exclude<Value, null>): number {
  return typeof a === 'string' && typeof b === 'string' ? BY_NAME.compare(a, b) : Number(a) - Number(b);
}
