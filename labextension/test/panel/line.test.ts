import { describe, expect, it } from 'vitest';

import { quoted } from '../../src/view/line';
import lines from '../../../tests/magic_lines.json';
import { type Asked, DEFAULTS, adviceLine, faults, fixedSparsity, magicLine } from '../../src/panel/line';

const asked = (form: Partial<Asked>): Asked => ({ ...DEFAULTS, ...form });

describe('the line', () => {
  // the file is shared with the panel in Python, so that both write the same
  it.each(lines as { form: Partial<Asked>; line: string }[])('of a form is $line', ({ form, line }) => {
    expect(magicLine(asked(form))).toBe(line);
  });

  it('asks for advice with what advice takes', () => {
    const form = asked({ model: 'net', input: 'x', target: 'x86-cpu', sparsity: '0.5', threads: '2', variable: 'run' });
    expect(adviceLine(form)).toBe('%hwprune advise net --input x --target x86-cpu --threads 2');
    expect(adviceLine(asked({}))).toBe('%hwprune advise');
  });

  it('never has a second line', () => {
    expect(magicLine(asked({ model: 'net\n!rm -rf .', eval: 'a\r\nb' }))).not.toMatch(/[\r\n]/);
  });
});

describe('quoting', () => {
  it('leaves plain words alone and keeps every other one a single word', () => {
    expect(['net', 'a.b', '2:4', 'channel/8', '0.5'].map(quoted)).toEqual(['net', 'a.b', '2:4', 'channel/8', '0.5']);
    expect(quoted('a b')).toBe("'a b'");
    expect(quoted('"$x"')).toBe(`'"$x"'`);
    expect(quoted("it's")).toBe(`'it'"'"'s'`);
    expect(quoted('')).toBe("''");
  });
});

describe('what the magic would refuse', () => {
  it('is said by field', () => {
    expect(faults(asked({}))).toEqual({});
    expect(Object.keys(faults(asked({ pattern: '4:2', sparsity: '1', threads: '0', variable: 'class' })))).toEqual([
      'pattern',
      'sparsity',
      'threads',
      'variable',
    ]);
    expect(Object.keys(faults(asked({ speedup: '1', latency_ms: '0', max_drop: '-1', sparsity: '0.5' })))).toEqual([
      'speedup',
      'latency_ms',
      'max_drop',
      'sparsity',
    ]);
    expect(faults(asked({ max_drop: '0.01' })).max_drop).toContain('score');
    expect(faults(asked({ speedup: '2', max_drop: '0', eval: 'f' }))).toEqual({});
    expect(faults(asked({ pattern: '1:4', sparsity: '.75', variable: 'größe' }))).toEqual({});
    expect(faults(asked({ recover: '200' })).recover).toContain('calibration inputs');
    expect(faults(asked({ recover: '1.5', calib: 'x' })).recover).toContain('whole number');
    expect(faults(asked({ recover: '200', calib: 'x' }))).toEqual({});
    expect(faults(asked({ sparsity: 'half' })).sparsity).toContain('above 0');
  });
});

describe('the share of n:m', () => {
  it('is fixed by the pattern, and by no other', () => {
    expect(fixedSparsity('2:4')).toBe(0.5);
    expect(fixedSparsity('1:4')).toBe(0.75);
    expect(['channel/8', '4:2', '2:', 'a:b'].map(fixedSparsity)).toEqual([null, null, null, null]);
  });
});
