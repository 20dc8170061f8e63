import { describe, expect, it } from 'vitest';

import * as format from '../../src/view/format';
import { headsOf, lastParts, middleCut, rowsOf, wordsOf } from '../../src/view/words';
import { NAMES, data, older, reading, report, type Data } from './reports';

describe('words are those that came with the report', () => {
  it.each(NAMES)('for the report %s', name => {
    const { report: read, notes } = reading(data(name));
    expect(notes).toEqual([]);
    expect(wordsOf(read)).toEqual(data(name).words);
    const { columns } = data(name).words as { columns: { key: string; name: string; cells: string[] }[] };
    for (const { key, name: head, cells } of columns) {
      expect(headsOf(read)).toHaveProperty(key, head);
      expect(rowsOf(read).map(row => (row.cells as Record<string, string>)[key])).toEqual(cells);
    }
  });

  it('but a column that has not one cell for each layer: its layers are said by their numbers', () => {
    const bad = data();
    const { columns } = bad.words as { columns: Data[] };
    for (const column of columns) {
      column.cells = ['one'];
    }
    expect(rowsOf(reading(bad).report).map(row => row.cells.used)).toEqual(['yes', 'no', 'not measured']);
  });
});

describe('a report without words says plainly what its numbers say', () => {
  it('its verdict and times', () => {
    const words = wordsOf(reading(older('plain')).report);
    expect(words).toMatchObject({ headline: 'FASTER 3.04x', badge: 'faster', interval: null });
    expect(words.facts.map(fact => [fact.name, fact.said])).toContainEqual(['time', '2.13 ms → 0.700 ms']);
  });

  it('the verdict against a faster runtime that the user has', () => {
    const words = wordsOf(reading(older('full')).report);
    expect(words.badge).toBe('no measurable gain');
    expect(words.headline).toBe('NO MEASURABLE GAIN 1.00x against dense with onnxruntime');
  });

  it('or that there is none, and why', () => {
    const words = wordsOf(reading(older('unmeasured')).report);
    expect(words).toMatchObject({ headline: 'NOT MEASURED', badge: 'not measured' });
    expect(words.facts.map(fact => fact.said)).toContain('a driver that has one');
  });

  it('an estimate in lower case, and what was only compiled', () => {
    const said = (name: 'estimated' | 'compiled') => wordsOf({ ...report(name), words: null });
    expect(said('estimated')).toMatchObject({ headline: 'estimated 1.79x', badge: 'estimated' });
    expect(said('compiled')).toMatchObject({ headline: 'compiled, not timed', badge: 'not measured' });
  });

  it('and of its layers all that stands in the table', () => {
    const [first] = rowsOf(reading(older('full')).report);
    expect(first?.cells).toEqual({
      weight: '64x32x3x3',
      removed: '50 %',
      macs: '1.23 M → 617 k',
      time: '12.3 → 4.50',
      valid: 'yes',
      used: 'yes',
      faster: '3.04x',
      kernel: 'Conv (NCHWc)',
    });
  });
});

it('says of what is not known that it was not measured', () => {
  const unknown = [format.count, format.share, format.milliseconds].map(say => say(null));
  expect(new Set(unknown)).toEqual(new Set(['not measured']));
});

it.each([
  [0, '0', '0 %'],
  [0.125, '0.125', '13 %'],
  [999, '999', '99900 %'],
  [1234, '1.23 k', '123400 %'],
  [25_600_000, '25.6 M', '2560000000 %'],
  [1.5e9, '1.5 G', '150000000000 %'],
])('counts and shares %d', (number, count, share) => {
  expect([format.count(number), format.share(number)]).toEqual([count, share]);
});

it.each([
  ['short', 8, 'short'],
  ['encoder.🄰.fc', 9, 'enc…🄰.fc'],
])('cuts %s to a width of %d in its middle', (text, width, said) => {
  expect(middleCut(text, width)).toBe(said);
});

it.each([
  ['encoder.fc', 'encoder.fc'],
  ['model.layers.12.self_attn.gate_proj', '…12.self_attn.gate_proj'],
  ['a_name_without_any_dots_that_is_long', 'a_name_with…that_is_long'],
  ['model.a_last_part_that_is_longer_than_all', 'model.a_las…ger_than_all'],
])('keeps of %s where there is little room what tells it from others', (name, said) => {
  expect(lastParts(name, 24)).toBe(said);
});
