import { describe, expect, it } from 'vitest';

import { lastWords, readProgress, steps } from '../../src/progress/steps';

const progress = (changes: Record<string, unknown>) =>
  readProgress({
    version: 1,
    state: 'running',
    phase: 'compile',
    detail: '',
    elapsed_s: 12.4,
    summary: null,
    step: null,
    ...changes,
  });
const states = (phase: unknown) => steps(progress({ phase })).map(({ name, state }) => `${name} ${state}`);

describe('the steps of a run', () => {
  it('are past, now and to come', () => {
    expect(states('compile')).toEqual([
      'prune past',
      'export past',
      'compile now',
      'check to come',
      'profile to come',
      'measure to come',
    ]);
  });

  it('never go back, whatever the phase', () => {
    const shown = steps(progress({ phase: 'compile', step: 5 })).map(({ name, state }) => `${name} ${state}`);
    expect(shown.slice(-2)).toEqual(['profile past', 'measure now']);
    expect(steps(progress({ phase: 'recipe', step: 1 }))[1]).toEqual({ name: 'export', state: 'now' });
  });

  it('have the name of what is done in their place', () => {
    expect(states('train')[0]).toBe('train now');
    expect(states('confirm').at(-1)).toBe('confirm now');
    expect(states('baseline')[2]).toBe('baseline now');
  });

  it('are one where the phase is none of ours, and none where there is no phase', () => {
    expect(states('setup')).toEqual(['setup now']);
    expect(states(7)).toEqual([]);
  });
});

it.each([
  [{ state: 'done', summary: 'FASTER 3.04x' }, 'hwprune: FASTER 3.04x (12 s)'],
  [{ state: 'stopped', summary: 'interrupted in phase compile' }, 'hwprune: interrupted in phase compile after 12 s'],
  [{ state: 'stopped' }, 'hwprune: stopped in phase compile after 12 s'],
  [{ state: 'done', elapsed_s: 'long' }, 'hwprune: done'],
  [{ state: 'elsewhere' }, 'hwprune: this progress cannot be read'],
])('a run that ended leaves one line: %j', (changes, said) => {
  expect(lastWords(progress(changes))).toBe(said);
});
