/** Dense and pruned side by side: in float and in int8, or in several runtimes. */
import type { Table } from '../report';
import { element, section } from './elements';
import type { Seen } from './reading';

export function sideBySide(heading: string, table: Seen<Table> | null): HTMLElement | null {
  if (table === null || table.rows.length === 0) {
    return null;
  }
  const head = element('tr', {}, ...table.head.map(name => element('th', { attributes: { scope: 'col' } }, name)));
  const rows = table.rows.map(([model, ...cells]) =>
    element(
      'tr',
      {},
      element('th', { attributes: { scope: 'row' } }, model ?? ''),
      ...cells.map(cell => element('td', {}, cell))
    )
  );
  const shown = element('table', { class: 'hwprune-four' }, element('thead', {}, head), element('tbody', {}, ...rows));
  return section(heading, element('div', { class: 'hwprune-wide' }, shown));
}
