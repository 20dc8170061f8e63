import type { Report } from '../../report';
import { KEYS, element, freshId, section } from '../elements';
import { counted } from '../format';
import type { Seen } from '../reading';
import { otherKernels } from '../words';
import { STATES, chosen } from './choosing';
import { LayerTable, PAGE } from './table';

const UTILIZATION =
  "After a kernel: the layer's dense arithmetic by its time, as a share of the core's peak. Far above 100 % it left " +
  "arithmetic out; Winograd's convolutions do so too.";

/** The pruned layers: a table, what narrows it down, and what the table leaves unsaid. */
export function layers(report: Seen<Report>): HTMLElement | null {
  if (report.layers.length === 0) {
    return null;
  }
  const table = new LayerTable(report.layers);
  const others = otherKernels(report);
  return section(
    counted(report.layers.length, 'pruned layer'),
    report.layers.length > 3 ? filters(report, table) : null,
    table.node,
    report.layers.length > PAGE ? pager(table) : null,
    note(others === null ? null : `Kernels of no pruned layer: ${others}.`),
    note(report.layers.some(layer => layer.utilization !== null) ? UTILIZATION : null)
  );
}

function note(said: string | null): HTMLElement | null {
  return said === null ? null : element('p', { class: 'hwprune-quiet' }, said);
}

function filters(report: Seen<Report>, table: LayerTable): HTMLElement {
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
    const number = report.layers.filter(holds).length;
    if (number > 0) {
      state.append(new Option(`${name} (${number})`, name));
    }
  }
  const found = element('output', { class: 'hwprune-quiet', attributes: { id: freshId('found') } });
  const narrow = () => {
    const shown = chosen(report.layers, words.value, state.value);
    table.show(shown);
    found.textContent = shown.length === report.layers.length ? '' : `${shown.length} of ${report.layers.length}`;
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
