import { describe, expect, it } from 'vitest';

import * as facts from '../../src/view/facts';
import * as format from '../../src/view/format';
import { read } from '../../src/view/reading';
import * as words from '../../src/view/words';
import cases from './words.json';

describe('words are those of the Python side', () => {
  it.each(cases.numbers)('for the number $number', ({ number, ...said }) => {
    expect({
      count: format.count(number),
      share: format.share(number),
      microseconds: format.microseconds(number),
      milliseconds: format.milliseconds(number),
      general: format.general(number, 4),
      exponential: format.exponential(number),
      fixed: format.fixed(number, 2),
      removed: format.removed(number, number / 4),
    }).toEqual(said);
  });

  it.each(cases.cuts)('for %s in a width of %d', (text, width, said) => {
    expect(words.middleCut(String(text), Number(width))).toBe(said);
  });

  it.each(Object.entries(cases.reports))('for the report %s', (_, { data, said }) => {
    const reading = read(data);
    if (typeof reading === 'string') {
      throw new Error(reading);
    }
    const { report } = reading;
    expect(reading.notes).toEqual([]);
    expect({
      what: words.what(report),
      headline: words.headline(report),
      interval: words.interval(words.deciding(report)),
      facts: facts.facts(report),
      'other kernels': words.otherKernels(report),
      returned: words.returned(report),
      'left dense': words.leftDense(report.skipped),
      layers: report.layers.map(layer => ({
        name: words.nameOf(layer, 20),
        shapes: words.shapes(layer),
        valid: words.valid(layer),
        used: words.yesNo(layer.used),
        speed: words.speed(layer.speed),
        kernels: words.kernels(layer),
      })),
    }).toEqual(said);
  });
});

it('says of what is not known that it was not measured', () => {
  const unknown = [format.count, format.share, format.milliseconds, format.microseconds].map(say => say(null));
  expect(new Set(unknown)).toEqual(new Set(['not measured']));
});

it.each([
  ['encoder.fc', 'encoder.fc'],
  ['model.layers.12.self_attn.gate_proj', '…12.self_attn.gate_proj'],
  ['a_name_without_any_dots_that_is_long', 'a_name_with…that_is_long'],
  ['model.a_last_part_that_is_longer_than_all', 'model.a_las…ger_than_all'],
])('keeps of %s where there is little room what tells it from others', (name, said) => {
  expect(words.lastParts(name, 24)).toBe(said);
});
