import { describe, expect, it } from 'vitest';

import { checked } from '../../src/panel/answer';

const progress = {
  state: 'running',
  phase: 'measure',
  detail: 'round 3',
  elapsed_s: 1.5,
  summary: null,
  step: 5,
  version: 1,
};
const namespace = {
  loaded: true,
  torch: true,
  models: [{ name: 'net', kind: 'Sequential', parameters: null, dtype: 'float32', device: 'cpu' }],
  tensors: [{ name: 'x', shape: [2, 3], dtype: 'float32' }],
  scores: ['accuracy'],
  model: 'net',
  no_model: null,
  input: null,
  no_input: 'The example input is not clear.',
};

describe('what a run or a kernel says', () => {
  it('is taken where it is of the known form', () => {
    expect(checked('progress', progress)).toEqual(progress);
    expect(checked('namespace', namespace)).toEqual(namespace);
  });

  it('may say more than this version reads', () => {
    expect(checked('progress', { ...progress, later: [1] })).not.toBeNull();
  });

  it.each([
    ['nothing', undefined],
    ['a text', 'running'],
    ['a list', [progress]],
    ['a state that does not exist', { ...progress, state: '<b>' }],
    ['a time that is a text', { ...progress, elapsed_s: '1' }],
    ['a time that is no number', { ...progress, elapsed_s: NaN }],
    ['a phase that is an object', { ...progress, phase: { toString: 'prune' } }],
    ['no phase', { ...progress, phase: undefined }],
  ])('is not taken where it is %s', (_, value) => {
    expect(checked('progress', value)).toBeNull();
  });

  it('is not taken where a part of it does not fit', () => {
    expect(checked('namespace', { ...namespace, models: [{ name: 'net' }] })).toBeNull();
    expect(checked('namespace', { ...namespace, tensors: [{ name: 'x', shape: [0.5], dtype: '' }] })).toBeNull();
    expect(checked('namespace', Object.create(namespace))).toBeNull();
  });
});
