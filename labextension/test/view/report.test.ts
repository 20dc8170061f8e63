import { beforeEach, describe, expect, it } from 'vitest';

import { reportView } from '../../src/view/report_view';
import { data, reading, type Data } from './reports';

const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';

function shown(source: unknown): HTMLElement {
  const view = reportView(reading(source));
  document.body.replaceChildren(view);
  return view;
}

function many(number: number): Data {
  const [layer] = data('plain').layers as Data[];
  const layers = Array.from({ length: number }, (_, index) => ({ ...layer, name: `l.${index}`, dense_us: index }));
  return { ...data('plain'), layers };
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
      'Why',
      'What it kept and what is gone',
      '3 pruned layers',
      'How sensitive each layer is',
      'error of the outputs (mean square, relative), as a table',
      '7 layers left dense, and why',
      'machine, versions and the request',
    ]);
  });

  it.each(['plain', 'full', 'unmeasured', 'gpu'] as const)('lets no text become markup: %s', name => {
    const view = shown(replaced(data(name), HOSTILE));
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
    const nodes = view.querySelectorAll('*').length;
    expect(cells(view)).toHaveLength(25);
    expect(nodes).toBe(shown(many(50)).querySelectorAll('*').length);
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
