import { describe, expect, it } from 'vitest';

import { boxes, networkOf } from '../../src/view/network/tree';
import { picture } from '../../src/view/network/picture';
import { rowsOf, type Row } from '../../src/view/words';
import { report, type Name } from './reports';

function named(names: string[], name: Name = 'plain') {
  const changed = report(name);
  const [layer] = changed.layers;
  if (layer === undefined) {
    throw new Error('the case has no layer');
  }
  changed.layers = names.map((each, index) => ({ ...layer, name: each, dense_us: 1 + index, pruned_us: 0.5 }));
  return changed;
}

function network(found: ReturnType<typeof named>) {
  const made = networkOf(found, rowsOf(found));
  if (made === null) {
    throw new Error('there is nothing to draw');
  }
  return made;
}

const llm = (layers: number) =>
  Array.from({ length: layers }, (_, at) => `model.layers.${at}`).flatMap(each => [`${each}.attn.q`, `${each}.mlp.up`]);

describe('the network', () => {
  it.each([1, 2, 12, 150])('of %i pairs of layers fills its rectangle by time, and no two blocks overlap', pairs => {
    const made = network(named(llm(pairs)));
    const blocks = boxes(made, 1000, 340).filter(({ block }) => block !== null);
    expect(blocks).toHaveLength(2 * pairs);
    expect(made.total).toBe(blocks.reduce((sum, { block }) => sum + (block?.size ?? 0), 0));
    for (const [index, a] of blocks.entries()) {
      expect(Math.min(a.x, a.y, a.width, a.height)).toBeGreaterThanOrEqual(0);
      expect([a.x + a.width <= 1000, a.y + a.height <= 340]).toEqual([true, true]);
      for (const b of blocks.slice(index + 1)) {
        const apart = a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
        expect(apart || a.width * a.height * b.width * b.height === 0).toBe(true);
      }
    }
  });

  it('has its modules named, without the part that all names share', () => {
    const labels = boxes(network(named(llm(3))), 1000, 340).flatMap(({ block, label }) =>
      block === null ? [label] : []
    );
    expect(labels.sort()).toEqual(['layers.0', 'layers.1', 'layers.2']);
    expect(boxes(network(named(['a', 'a', 'a'])), 1000, 340)).toHaveLength(3); // all of one name
  });

  it('takes the time of all other kernels in, and more layers than can be told apart as one block', () => {
    const found = named(llm(200));
    found.other_kernels = { dense_us: 7, pruned_us: 7 };
    const { blocks } = network(found);
    expect(blocks.slice(-2).map(({ name }) => name)).toEqual(['100 smaller layers', 'all other kernels']);
    expect(blocks).toHaveLength(302);
  });

  it('is drawn by estimates or MACs where no time is known, and says so', () => {
    const measures = (['full', 'estimated', 'plain'] as const).map(name => network(report(name)).measure);
    expect(measures).toEqual(['time', 'estimate', 'MACs']);
    const plain = report('plain');
    expect(picture(plain, rowsOf(plain), () => undefined)?.textContent).toContain(
      'MACs when dense, as no time is known'
    );
    plain.layers.forEach(layer => (layer.macs = null));
    expect(picture(plain, rowsOf(plain), () => undefined)).toBeNull();
  });

  it('has one block in the order of Tab, moves by arrow keys, and opens the layer that is pressed', () => {
    const found = named(['a', 'b', 'c']);
    const opened: Row[] = [];
    const drawn = picture(found, rowsOf(found), row => opened.push(row));
    document.body.replaceChildren(drawn ?? '');
    const buttons = [...document.querySelectorAll<HTMLButtonElement>('button.hwprune-block')];
    expect(buttons.map(({ tabIndex }) => tabIndex)).toEqual([0, -1, -1]);
    expect(buttons[0]?.getAttribute('aria-label')).toMatch(/^c: 3.00 µs when dense, 50 % of all shown; 2:4, 50 % gone/);
    buttons[0]?.focus();
    buttons[0]?.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
    expect(document.activeElement).toBe(buttons[1]);
    expect(document.querySelector('.hwprune-told')?.textContent).toContain('b: 2.00 µs');
    buttons[1]?.click();
    expect(opened.map(({ layer }) => layer.name)).toEqual(['b']);
  });
});
