import { beforeEach, describe, expect, it } from 'vitest';

import { reportView } from '../../src/view/report_view';
import { NAMES, data, older, reading, type Data } from './reports';

const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

function shown(source: unknown): HTMLElement {
  const view = reportView(reading(source));
  document.body.replaceChildren(view);
  return view;
}

function many(number: number): Data {
  const [layer] = data('plain').layers as Data[];
  const layers = Array.from({ length: number }, (_, index) => ({ ...layer, name: `l.${index}`, dense_us: index }));
  const words = data('plain').words as { columns: { cells: string[] }[] };
  const columns = words.columns.map(column => ({ ...column, cells: layers.map(() => column.cells[0]) }));
  return { ...data('plain'), layers, words: { ...words, columns } };
}

beforeEach(() => {
  document.body.replaceChildren();
});

function find<Tag extends keyof HTMLElementTagNameMap>(
  view: HTMLElement,
  tag: Tag,
  name = ''
): HTMLElementTagNameMap[Tag] {
  const found = view.querySelector<HTMLElementTagNameMap[Tag]>(tag + name);
  if (found === null) {
    throw new Error(`there is no ${tag}${name}`);
  }
  return found;
}

/** The same with every text replaced. */
function replaced(value: unknown, text: string): unknown {
  if (typeof value === 'string') {
    return text;
  }
  if (Array.isArray(value)) {
    return value.map(each => replaced(each, text));
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, replaced(inner, text)]));
}

describe('a report', () => {
  it('shows the verdict first, and says what was not measured', () => {
    const text = shown(data('unmeasured')).textContent;
    expect(text.indexOf('NOT MEASURED')).toBeLessThan(text.indexOf('pruned layers'));
    expect(text).toContain('a driver that has one');
  });

  it('has everything that it was told, each part in a section of its own', () => {
    const view = shown(data());
    const headings = [...view.querySelectorAll('h3, h4, summary')].map(heading => heading.textContent);
    expect(headings).toEqual([
      'net for x86-cpu, 2:4 at 50 % by activation, deepsparse',
      'Mistakes',
      'Why',
      'What it kept and what is gone',
      '3 pruned layers',
      'How sensitive each layer is',
      'error of the outputs (mean square, relative), as a table',
      '7 layers left dense, and why',
      'machine, versions and the request',
    ]);
  });

  it('names each mistake with its severity, and sets the line to copy apart', () => {
    const [first, second] = find(shown(data()), 'ul', '.hwprune-mistakes').children;
    expect(first?.textContent).toBe('HWP101 A title (error). Found. Why. Do this.%hwprune net -o run');
    expect(first?.querySelector('pre')?.textContent).toBe('%hwprune net -o run');
    expect(second?.querySelector('pre')).toBeNull();
  });

  it('shows an estimate as none: no capitals, no colour, no interval, and its unit at the head of the table', () => {
    const view = shown(data('estimated'));
    const badge = find(view, 'span', '.hwprune-badge');
    expect(badge.textContent).toBe('estimated 1.79x by a compiler, made up, cycles');
    expect(badge.dataset.verdict).toBe('estimated');
    expect(view.querySelectorAll('.hwprune-strip, [data-side=pruned], [data-side=slower]')).toHaveLength(0);
    const heads = [...view.querySelectorAll('thead th')].map(head => head.textContent);
    expect(heads).toContain('estimate, cycles');
    expect(heads).not.toContain('time, µs');
    expect(find(view, 'td', '[data-column=time]').textContent).toBe('2.5 M → 1.25 M');
    expect(view.textContent).toContain('1.25 MB → 700 kB (-44 %)');
  });

  it('shows a training in steps: a point for dense and for each step, joined in their order, and a row for each', () => {
    const view = shown(data('steps'));
    const plot = view.querySelector('svg[aria-label^="Score after each step"]');
    expect(plot?.querySelectorAll('.hwprune-mark')).toHaveLength(4);
    expect(plot?.querySelector('polyline')?.getAttribute('points')?.split(' ')).toHaveLength(4);
    expect(view.textContent).toContain('30.2 s');
  });

  it('shows what a search tried: a point and a row for each plan, the chosen one marked', () => {
    const view = shown(data('search'));
    const points = [...view.querySelectorAll('.hwprune-chart .hwprune-mark')];
    expect(points.map(each => each.getAttribute('data-kind')).sort()).toEqual(['chosen', 'dense', 'tried', 'tried']);
    const chosen = view.querySelector('.hwprune-chart [data-kind=chosen]');
    expect(chosen?.textContent).toBe('0 % to 50 % of the sets of channels: 0.900 ms, 2.36x, score 0.975');
    const rows = [...find(view, 'table', '.hwprune-models').rows].map(row => row.textContent);
    expect(rows).toHaveLength(4);
    expect(rows.filter(row => row.includes('chosen'))).toHaveLength(1);
    expect(view.textContent).toContain('the score stopped the search');
    chosen?.dispatchEvent(new MouseEvent('click'));
    expect(view.querySelector('tr[aria-current]')?.textContent).toContain('0 % to 50 % of the sets of channels');
    expect(shown(data('plain')).querySelector('.hwprune-mark')).toBeNull();
  });

  it('shows dense and pruned in float and in int8, the fastest of which decides', () => {
    const view = shown(data('corners'));
    const rows = [...find(view, 'table', '.hwprune-models').rows].map(row =>
      [...row.cells].map(cell => cell.textContent)
    );
    const { head, rows: told } = (data('corners').words as { corners: { head: string[]; rows: string[][] } }).corners;
    expect(rows).toEqual([head, ...told]);
    expect(find(view, 'span', '.hwprune-badge').textContent).toContain('7.50x: pruned int8');
    expect(view.querySelector('.hwprune-strip title')?.textContent).toContain('7.25x to 7.75x');
    expect(shown(data('plain')).querySelector('.hwprune-models')).toBeNull();
  });

  it('shows what was only compiled: its size, why nobody timed it, and the cure', () => {
    const view = shown(data('compiled'));
    expect(find(view, 'span', '.hwprune-badge').textContent).toBe('compiled, not timed');
    for (const said of ['1.25 kB → 800 B (-36 %)', 'the chip is not here', 'run it there']) {
      expect(find(view, 'section', '.hwprune-verdict').textContent).toContain(said);
    }
  });

  it.each(NAMES)('is drawn without its words, as version 4 wrote it, with a notice: %s', name => {
    const view = shown(older(name));
    expect(find(view, 'p', '.hwprune-notice').textContent).toContain('without the sentences');
    expect(find(view, 'span', '.hwprune-badge').textContent).not.toBe('');
    expect(view.querySelectorAll('tr.hwprune-layer')).toHaveLength((data(name).layers as Data[]).length);
  });

  it.each(Object.keys(data().words as Data))('is drawn when %s of its words is damaged', field => {
    for (const value of [null, 7, HOSTILE, [], {}, [{}], [[]], undefined]) {
      const words = { ...(data().words as Data), [field]: value };
      const view = shown({ ...data(), words });
      expect(view.querySelector('.hwprune-badge')).not.toBeNull();
      expect(view.querySelectorAll('tr.hwprune-layer')).toHaveLength(3);
      expect(view.querySelectorAll('img, script')).toHaveLength(0);
    }
  });

  it.each([...NAMES, ...NAMES.map(name => `older ${name}`)])('lets no text become markup: %s', each => {
    const name = NAMES.find(known => each.endsWith(known));
    const view = shown(replaced(each.startsWith('older') ? older(name) : data(name), HOSTILE));
    expect(view.querySelectorAll('img, script, iframe, a, form')).toHaveLength(0);
    expect(view.textContent).toContain(HOSTILE);
    const attributes = [...view.querySelectorAll('*')].flatMap(each => each.getAttributeNames());
    expect(attributes.filter(attribute => /^on|href|src/.test(attribute))).toEqual([]);
  });

  it.each(Object.keys(data()))('is drawn when %s is damaged', field => {
    for (const value of [null, 7, HOSTILE, [], {}, [{}], [[]]]) {
      expect(shown({ ...data(), [field]: value }).querySelector('.hwprune-badge')).not.toBeNull();
    }
  });
});

describe('the table of layers', () => {
  const cells = (view: HTMLElement) => [...view.querySelectorAll('.hwprune-long')].map(each => each.textContent);
  const press = (view: HTMLElement, name: string) => {
    const buttons = [...view.querySelectorAll('button')];
    buttons.find(each => each.textContent === name || each.ariaLabel === name)?.click();
  };

  it('has as many rows for 5000 layers as for 50, and turns its pages', () => {
    const view = shown(many(5000));
    const nodes = view.querySelectorAll('.hwprune-layers *').length;
    expect(cells(view)).toHaveLength(25);
    expect(nodes).toBe(shown(many(50)).querySelectorAll('.hwprune-layers *').length);
    document.body.replaceChildren(view);
    expect(cells(view)[0]).toBe('l.4999');
    press(view, 'next layers');
    expect(cells(view)[0]).toBe('l.4974');
    expect(view.textContent).toContain('26 to 50 of 5000');
  });

  it('sorts by its heads, which say so', () => {
    const view = shown(many(30));
    const sorted = () => view.querySelector('th:is([aria-sort=ascending], [aria-sort=descending])');
    expect(sorted()?.textContent).toBe('time, µs');
    press(view, 'layer');
    expect(sorted()?.getAttribute('aria-sort')).toBe('ascending');
    expect(cells(view)[0]).toBe('l.0');
    press(view, 'layer');
    expect(sorted()?.getAttribute('aria-sort')).toBe('descending');
    expect(cells(view)[0]).toBe('l.29');
  });

  it('narrows down to words, and says how many are left', () => {
    const view = shown(many(120));
    const words = find(view, 'input', '[type=search]');
    words.value = 'l.11';
    words.dispatchEvent(new Event('input'));
    expect(cells(view)).toHaveLength(11);
    expect(view.querySelector('output')?.textContent).toBe('11 of 120');
  });

  it('opens a row at a press of its name, and shuts it again', () => {
    const view = shown(many(3));
    const name = find(view, 'button', '.hwprune-open');
    const below = find(view, 'tr', `#${name.getAttribute('aria-controls') ?? ''}`);
    expect([name.ariaExpanded, below.hidden]).toEqual(['false', true]);
    name.click();
    expect([name.ariaExpanded, below.hidden]).toEqual(['true', false]);
    expect(below.textContent).toContain('100 % of groups hold the pattern');
    name.click();
    expect([name.ariaExpanded, below.hidden]).toEqual(['false', true]);
  });
});
