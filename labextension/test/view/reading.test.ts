import { describe, expect, it } from 'vitest';

import { MOST_CHARACTERS, SCHEMA_VERSION, read } from '../../src/view/reading';
import { data, older, reading, type Data } from './reports';

/** What is not known of a layer has no field in JSON, and is null here. */
const UNKNOWN_OF_A_LAYER = Object.fromEntries(
  [
    'used',
    'groups',
    'kernel',
    'pruned_kernel',
    'dense_us',
    'pruned_us',
    'served_by',
    'rows',
    'alone',
    'utilization',
    'compressed',
  ]
    .concat(['counters', 'error', 'evidence', 'estimate', 'ran_on'])
    .map(name => [name, null])
);
const NO_SPEED = { speed: { speedup: null, low: null, high: null, noise_floor: null, verdict: null } };

/** The data with every field of each layer. */
function whole(source: Data): Data {
  const layers = (source.layers as Data[]).map(layer => ({ ...UNKNOWN_OF_A_LAYER, ...NO_SPEED, ...layer }));
  return { ...source, layers };
}

describe('a report that is as it should be', () => {
  it('is the same after it was read, with nothing to note', () => {
    expect(reading(data())).toEqual({ report: whole(data()), notes: [] });
  });

  it('may come as the text of a file', () => {
    expect(reading(JSON.stringify(data())).report).toEqual(whole(data()));
  });

  it.each(['estimated', 'compiled', 'unmeasured'] as const)('has the kind of measurement that it says: %s', name => {
    const { report, notes } = reading(data(name));
    expect(report.measurement).toEqual(data(name).measurement);
    expect(notes).toEqual([]);
  });
});

describe('a report of version 4', () => {
  it('is read as one of today, with one note that says why it has no words', () => {
    const { report, notes } = reading(older());
    expect(report.measurement).toEqual(data().measurement);
    expect(report.layers.map(layer => layer.evidence)).toEqual(['measured', 'measured', 'measured']);
    expect(report.words).toBeNull();
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain('An older jupyter-hwprune wrote this report, without the sentences');
    expect(reading(older('unmeasured')).report.measurement.kind).toBe('untimed');
  });

  it.each([null, 7, 'text', [], {}, [7]])('is read as far as it can be where it is damaged: %j', value => {
    for (const field of Object.keys(older())) {
      expect(Object.keys(reading({ ...older(), [field]: value }).report)).toEqual(Object.keys(data()));
    }
  });
});

describe('one sentence says why nothing can be shown of', () => {
  it.each([
    [[1, 2], 'it is a list'],
    ['"text"', 'it is the text "text"'],
    [undefined, 'it is nothing'],
    [7, 'it is 7'],
    ['{"a": 1', 'it is not JSON'],
    [{ cells: [] }, 'none of its fields'],
    [' '.repeat(MOST_CHARACTERS + 1), 'This file has 32 MB'],
  ])('%#', (source, said) => {
    expect(read(source)).toContain(said);
  });
});

describe('what does not fit', () => {
  it('is null where it stands, is named, and leaves the rest alone', () => {
    const bad = data();
    const [first] = bad.layers as Data[];
    Object.assign(first ?? {}, { sparsity: 'lots', used: 1, shape: 'large', speed: 7 });
    const { report, notes } = reading(bad);
    expect(report.layers[0]).toMatchObject({ sparsity: null, used: null, shape: [], macs: first?.macs });
    expect(report.layers[0]?.speed).toMatchObject({ speedup: null, verdict: null });
    expect(report.layers[1]).toEqual((whole(data()).layers as Data[])[1]);
    expect(notes.join()).toContain('layers[0].sparsity is the text "lots"');
  });

  it.each([null, 7, 'text', []])('is no whole part of a report: %j', value => {
    for (const field of Object.keys(data())) {
      const { report } = reading({ ...data(), [field]: value });
      expect(Object.keys(report)).toEqual(Object.keys(data()));
    }
  });

  it('is not in a list of things that do', () => {
    const { report, notes } = reading({
      ...data(),
      reasons: ['because', 7, null],
      layers: [7, ...(data().layers as [])],
    });
    expect(report.reasons).toEqual(['because']);
    expect(report.layers).toHaveLength(3);
    expect(notes.join()).toContain('reasons[1] is 7');
  });

  it('is a number that is none, a verdict that nobody knows, a field of the prototype', () => {
    const { report } = reading({
      ...data(),
      check: { dense_error: Infinity },
      measurement: { kind: 'timed', clock: 'sundial' },
    });
    expect(report.check?.dense_error).toBeNull();
    expect(report.measurement).toMatchObject({ kind: 'timed', clock: null });
    const inherited = Object.create({ reasons: ['inherited'] }) as Data;
    expect(reading(Object.assign(inherited, { ...data(), reasons: undefined })).report.reasons).toEqual([]);
  });

  it.each(['splendid', 7, undefined, null])('is a kind of measurement that nobody knows: %j', kind => {
    const { report, notes } = reading({ ...data(), measurement: { ...(data().measurement as Data), kind } });
    expect(report.measurement).toMatchObject({ kind: null, evidence: { device: 'a device, made up' } });
    expect(report.measurement).not.toHaveProperty('comparison');
    expect(notes.join()).toContain('measurement.kind is');
  });

  it('is told of in a few words, however much it is', () => {
    const { notes } = reading({ ...data(), layers: Array.from({ length: 5000 }, () => ({ name: 7 })) });
    expect(notes.join().length).toBeLessThan(500);
    expect(notes.join()).toMatch(/and \d+ more/);
  });
});

describe('what is too large', () => {
  it('is cut, and the rest is shown', () => {
    const { report, notes } = reading({ ...data(), reasons: ['x'.repeat(100_000_000), 'because'] });
    expect(report.reasons[0]).toHaveLength(6_000);
    expect(report.reasons[1]).toBe('because');
    expect(notes.join()).toContain('reasons[0] has 100000000 characters');
  });

  it('is a list of a million layers, of which the first are read in a moment', () => {
    const [layer] = data().layers as Data[];
    const before = performance.now();
    const { report, notes } = reading({ ...data(), layers: Array.from({ length: 1_000_000 }, () => layer) });
    expect(report.layers.length).toBeLessThanOrEqual(10_000);
    expect(notes.join()).toContain('layers has 1000000 entries');
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  it('is a field that no report has, and costs nothing', () => {
    expect(reading({ ...data(), unknown: 'x'.repeat(100_000_000) }).report).toEqual(whole(data()));
  });
});

describe('another schema version', () => {
  it.each([
    [SCHEMA_VERSION + 5, 'schema version 10; this extension reads version 5', 'A newer jupyter-hwprune'],
    [1, 'schema version 1; this extension reads version 5', 'Make the report again'],
    ['x', 'no schema version', 'A newer'],
  ])('%s is said, and what is understood is shown', (version, said, cure) => {
    const { report, notes } = reading({ ...data(), schema_version: version, baselines: undefined });
    expect(notes).toHaveLength(1);
    expect(notes[0]).toContain(said);
    expect(notes[0]).toContain(cure);
    expect(report.layers).toEqual(whole(data()).layers);
    expect(report.baselines).toEqual([]);
  });
});
