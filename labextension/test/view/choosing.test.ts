import { describe, expect, it } from 'vitest';

import { chosen, sorted } from '../../src/view/layers/choosing';
import { rowsOf } from '../../src/view/words';
import { report, row } from './reports';

describe('layers are sorted', () => {
  const sort = (values: (number | string | boolean | null)[], down: boolean) => sorted(values, value => value, down);

  it('by number, by truth, and by name as people count', () => {
    expect(sort([10, 9, 100], false)).toEqual([9, 10, 100]);
    expect(sort([false, true, false], true)).toEqual([true, false, false]);
    expect(sort(['h.10.fc', 'h.9.fc', 'h.1.fc'], false)).toEqual(['h.1.fc', 'h.9.fc', 'h.10.fc']);
  });

  it('with what is not known last, both ways', () => {
    expect(sort([null, 2, null, 1], false)).toEqual([1, 2, null, null]);
    expect(sort([null, 2, null, 1], true)).toEqual([2, 1, null, null]);
  });

  it('and stay as they were where they are equal', () => {
    const pairs = [
      { a: 1, n: 0 },
      { a: 0, n: 1 },
      { a: 1, n: 2 },
      { a: 0, n: 3 },
    ];
    expect(sorted(pairs, pair => pair.a, true).map(pair => pair.n)).toEqual([0, 2, 1, 3]);
  });
});

describe('layers are narrowed down', () => {
  const rows = rowsOf(report());
  const names = (text: string, state: string) => chosen(rows, text, state).map(each => each.layer.name);

  it.each([
    ['', '', 3],
    ['conv2d', '', 3],
    ['LONG nchwc', '', 1],
    ['nowhere', '', 0],
    ['', 'faster', 1],
    ['', 'slower', 1],
    ['', 'within noise', 1],
    ['', 'not valid', 1],
    ['', 'not used', 1],
    ['gemm', 'slower', 1],
    ['gemm', 'faster', 0],
  ])('by %j and %j', (text, state, number) => {
    expect(names(text, state)).toHaveLength(number);
  });

  it('and one of which nobody knows whether a kernel was used is in neither state', () => {
    const unknown = [row({ used: null })];
    expect([...chosen(unknown, '', 'used'), ...chosen(unknown, '', 'not used')]).toEqual([]);
    expect(chosen([row({ valid: null })], '', 'not valid')).toEqual([]);
  });
});
