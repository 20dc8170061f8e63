import type { Report } from '../../report';
import { KEYS, element, freshId, section } from '../elements';
import { counted } from '../format';
import { picture } from '../network/picture';
import type { Seen } from '../reading';
import { rowsOf, headsOf, wordsOf, type Row } from '../words';
import { STATES, chosen } from './choosing';
import { LayerTable, PAGE } from './table';

/** The pruned layers: a table, what narrows it down, and what the table leaves unsaid. */
export function layers(report: Seen<Report>): HTMLElement | null {
  if (report.layers.length === 0) {
    return null;
  }
  const rows = rowsOf(report);
  const table = new LayerTable(rows, headsOf(report));
  return section(
    counted(report.layers.length, 'pruned layer'),
    picture(report, rows, row => {
      table.reveal(row);
    }),
    rows.length > 3 ? filters(rows, table) : null,
    table.node,
    report.layers.length > PAGE ? pager(table) : null,
    ...wordsOf(report).notes.map(said => element('p', { class: 'hwprune-quiet' }, said))
  );
}

function filters(rows: Row[], table: LayerTable): HTMLElement {
  const words = element('input', {
    attributes: {
      type: 'search',
      placeholder: 'name, kind, kernel',
      'aria-label': 'show only layers with these words',
      ...KEYS,
    },
  });
  const state = element('select', { attributes: { 'aria-label': 'show only layers that are', ...KEYS } });
  state.append(new Option('all layers', ''));
  for (const { name, holds } of STATES) {
    const number = rows.filter(({ layer }) => holds(layer)).length;
    if (number > 0) {
      state.append(new Option(`${name} (${number})`, name));
    }
  }
  const found = element('output', { class: 'hwprune-quiet', attributes: { id: freshId('found') } });
  const narrow = () => {
    const shown = chosen(rows, words.value, state.value);
    table.show(shown);
    found.textContent = shown.length === rows.length ? '' : `${shown.length} of ${rows.length}`;
  };
  words.addEventListener('input', narrow);
  state.addEventListener('change', narrow);
  return element('div', { class: 'hwprune-filters', attributes: { role: 'search' } }, words, state, found);
}

function pager(table: LayerTable): HTMLElement {
  const range = element('span', { attributes: { 'aria-live': 'polite' } });
  const [back, on] = [-1, 1].map(pages => {
    const button = element('button', { class: 'hwprune-page', attributes: { type: 'button' } }, pages < 0 ? '‹' : '›');
    button.setAttribute('aria-label', pages < 0 ? 'previous layers' : 'next layers');
    button.addEventListener('click', () => {
      table.turn(pages);
    });
    return button;
  }) as [HTMLButtonElement, HTMLButtonElement];
  const node = element('div', { class: 'hwprune-pager' }, back, range, on);
  table.changed = () => {
    const { first, last, of } = table.range;
    range.textContent = `${first} to ${last} of ${of}`;
    back.disabled = first <= 1;
    on.disabled = last >= of;
    node.hidden = table.pages < 2;
  };
  table.changed();
  return node;
}
