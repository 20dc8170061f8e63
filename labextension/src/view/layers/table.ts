import { element, freshId } from '../elements';
import { lastParts, nameOf, type Cells, type Row } from '../words';
import { sorted, type Value } from './choosing';
import { COLUMNS, cellOf, headOf, lengths, type Column } from './columns';
import { detail } from './detail';
import { FOLDED, fit, keepFitting } from './room';

export const PAGE = 25;
const NAME: Column = { key: 'name', value: layer => nameOf(layer, 200) };

/** A page of layers that sorts by its heads, and whose rows open. */
export class LayerTable {
  readonly node: HTMLElement;
  /** What is told when the page or the number of layers is another one. */
  changed: () => void = () => undefined;

  private page = 0;
  private by: Column;
  private descending = true;
  private readonly open = new Set<Row>();
  private readonly names = new WeakMap<Row, HTMLButtonElement>();
  private readonly all: Row[];
  private readonly heads = new Map<Column, HTMLTableCellElement>();
  private readonly table = element('table', { class: 'hwprune-layers', attributes: { 'aria-label': 'pruned layers' } });
  private readonly body = element('tbody', {});
  private readonly longest: number;

  constructor(
    private shown: Row[],
    private readonly words: Cells
  ) {
    this.all = shown;
    const bars = shown.map(({ layer }) => lengths(layer));
    this.longest = bars.reduce((most, [dense, pruned]) => Math.max(most, dense ?? 0, pruned ?? 0), 0);
    const costliest = bars.every(([dense]) => dense !== null) ? 'time' : 'macs';
    this.by = COLUMNS.find(column => column.key === costliest) ?? NAME;
    const heads = [NAME, ...COLUMNS].map(column => this.head(column));
    this.table.append(element('thead', {}, element('tr', {}, ...heads)), this.body);
    this.node = element('div', { class: 'hwprune-scroll' }, this.table);
    keepFitting(this.node, this.table);
    this.draw();
  }

  get pages(): number {
    return Math.max(1, Math.ceil(this.shown.length / PAGE));
  }

  get range(): { first: number; last: number; of: number } {
    const of = this.shown.length;
    return { first: Math.min(of, this.page * PAGE + 1), last: Math.min(of, (this.page + 1) * PAGE), of };
  }

  show(rows: Row[]): void {
    this.shown = rows;
    this.page = 0;
    this.draw();
  }

  turn(pages: number): void {
    this.page = Math.min(this.pages - 1, Math.max(0, this.page + pages));
    this.draw();
  }

  /** Open a layer's row and go to it, whatever narrows the table down. */
  reveal(row: Row): void {
    if (!this.shown.includes(row)) {
      this.shown = this.all;
    }
    this.open.add(row);
    this.page = Math.floor(this.ordered.indexOf(row) / PAGE);
    this.draw();
    const name = this.names.get(row);
    name?.focus({ preventScroll: true });
    name?.scrollIntoView({ block: 'center' });
  }

  private get ordered(): Row[] {
    const value = this.by.value ?? ((): Value => null);
    return sorted(this.shown, row => value(row.layer), this.descending);
  }

  private head(column: Column): HTMLTableCellElement {
    const cell = element('th', { attributes: { scope: 'col', 'data-column': column.key } });
    const name = column === NAME ? 'layer' : headOf(column, this.words);
    if (column.value === undefined) {
      cell.textContent = name;
      return cell;
    }
    const button = element('button', { class: 'hwprune-sort', attributes: { type: 'button' } }, name);
    button.addEventListener('click', () => {
      this.descending = this.by === column ? !this.descending : column.descending === true;
      this.by = column;
      this.page = 0;
      this.draw();
    });
    cell.append(button);
    this.heads.set(column, cell);
    return cell;
  }

  private draw(): void {
    for (const [column, cell] of this.heads) {
      const order = this.descending ? 'descending' : 'ascending';
      cell.setAttribute('aria-sort', column === this.by ? order : 'none');
    }
    const page = this.ordered.slice(this.page * PAGE, (this.page + 1) * PAGE);
    this.body.replaceChildren(...page.flatMap(row => this.rows(row)));
    fit(this.node, this.table);
    this.changed();
  }

  /** A layer's row, and below it the row with all the rest while it is open. */
  private rows(shown: Row): HTMLTableRowElement[] {
    const { layer } = shown;
    const below = element('tr', { class: 'hwprune-below', attributes: { id: freshId('layer') } });
    const isOpen = this.open.has(shown);
    const button = element(
      'button',
      {
        class: 'hwprune-open',
        attributes: { type: 'button', 'aria-expanded': String(isOpen), 'aria-controls': below.id },
      },
      element('span', { class: 'hwprune-long' }, nameOf(layer, 40)),
      element('span', { class: 'hwprune-short' }, lastParts(nameOf(layer, 200), 24))
    );
    button.title = nameOf(layer, 400);
    this.names.set(shown, button);
    const cells = COLUMNS.map(column => {
      const content = cellOf(column, shown, this.longest);
      return element('td', { attributes: { 'data-column': column.key } }, content);
    });
    const name = element('th', { attributes: { scope: 'row', 'data-column': 'name' } }, button);
    const row = element('tr', { class: 'hwprune-layer' }, name, ...cells);
    const rest = this.rest(shown);
    const toggle = (open: boolean) => {
      button.setAttribute('aria-expanded', String(open));
      below.hidden = !open;
      const all = { colspan: String(COLUMNS.length + 1) };
      below.replaceChildren(...(open ? [element('td', { attributes: all }, detail(shown, this.words))] : []));
    };
    const press = () => {
      if (window.getSelection()?.isCollapsed === false) {
        return; // somebody marks words to copy them
      }
      const open = !this.open.delete(shown);
      if (open) {
        this.open.add(shown);
      }
      toggle(open);
    };
    row.addEventListener('click', press);
    rest.addEventListener('click', press);
    toggle(isOpen);
    return [row, rest, below];
  }

  /** The line below a row, of which only that is seen for which the row has no room. */
  private rest(shown: Row): HTMLTableRowElement {
    const parts = COLUMNS.filter(({ key }) => FOLDED.has(key)).map(column => {
      const about = element('span', { class: 'hwprune-quiet' }, `${headOf(column, this.words)} `);
      const content = cellOf(column, shown, 0);
      return element('span', { attributes: { 'data-rest': column.key } }, about, content);
    });
    const all = { colspan: String(COLUMNS.length + 1) };
    return element('tr', { class: 'hwprune-rest' }, element('td', { attributes: all }, ...parts));
  }
}
