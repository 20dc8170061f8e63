import { describe, expect, it } from 'vitest';

import type { Choices, Machine, Progress } from '../../src/panel/answers';
import { duration, elapsed, rowOf, judgeOf, stateOf, when } from '../../src/panel/words';

const progress: Progress = {
  state: 'running',
  phase: 'measure',
  detail: '',
  elapsed_s: 58.4,
  step: null,
  summary: null,
  version: 1,
};
const choices = {
  targets: [
    {
      name: 'x86-cpu',
      chip: 'x86-64',
      judges: [
        { toolchain: 'deepsparse', pattern: 'unstructured', sparsity: 0.9 },
        { toolchain: 'onnxruntime', pattern: 'channel/8', sparsity: 0.5 },
      ],
    },
  ],
  aliases: { cpu: 'x86-cpu' },
} as unknown as Choices;
const machine = { targets: [{ name: 'x86-cpu', usable: ['onnxruntime'], obstacles: [] }], parts: [] } as Machine;

describe('the time that a run has taken', () => {
  it('goes on between its words while it lives, and stands still when it has ended', () => {
    expect(elapsed(progress, 1000, true, 3000)).toBe('1 min 00 s');
    expect(elapsed(progress, 1000, false, 99_000)).toBe('58 s');
    expect(elapsed(progress, 3000, true, 1000)).toBe('58 s'); // a clock that was set back
  });

  it('is said in seconds, then in minutes', () => {
    expect([0.4, 59.9, 60, 125].map(duration)).toEqual(['0 s', '59 s', '1 min 00 s', '2 min 05 s']);
  });
});

describe('the toolchain that will judge', () => {
  const row = rowOf(choices, 'cpu');

  it('is that of the row that the alias means, the first that measures here', () => {
    expect(row?.name).toBe('x86-cpu');
    expect(judgeOf(row, stateOf(machine, row), '')?.pattern).toBe('channel/8');
  });

  it('is the one that is named', () => {
    expect(judgeOf(row, stateOf(machine, row), 'deepsparse')?.sparsity).toBe(0.9);
  });

  it('is the one that prunes where all are asked for', () => {
    expect(judgeOf(row, stateOf(machine, row), 'all')?.toolchain).toBe('onnxruntime');
  });

  it('is not guessed while nothing is known of this machine', () => {
    expect(judgeOf(row, null, '')).toBeNull();
  });
});

describe('the date of a report', () => {
  it('is not made up where it cannot be read', () => {
    expect(when('soon')).toBe('date unknown');
    expect(when(null)).toBe('date unknown');
    expect(when('2026-01-02T03:04:05+00:00')).toContain('26');
  });
});
