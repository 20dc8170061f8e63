/** Tables of models side by side, a row for each. */
import type { Table } from '../report';
import { element, section } from './elements';
import type { Seen } from './reading';

/** The table that the report's words hold, under a heading; nothing where they hold none. */
export function sideBySide(heading: string, table: Seen<Table> | null): HTMLElement | null {
  const shown = models(table);
  return shown === null ? null : section(heading, shown);
}

export function models(table: Seen<Table> | null): HTMLElement | null {
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
  const shown = element(
    'table',
    { class: 'hwprune-models' },
    element('thead', {}, head),
    element('tbody', {}, ...rows)
  );
  return element('div', { class: 'hwprune-wide', attributes: { tabindex: '0' } }, shown); // its scrolling by keys
}
