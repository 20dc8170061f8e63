import { describe, expect, it } from 'vitest';

import type { Report } from '../../src/report';
import { compare } from '../../src/panel/compare';
import { type Seen, read } from '../../src/view/reading';
import cases from '../view/cases.json';

function report(name: keyof typeof cases, change: (report: Seen<Report>) => void = () => undefined) {
  const reading = read(structuredClone(cases[name]));
  if (typeof reading === 'string') {
    throw new Error(reading);
  }
  change(reading.report);
  return reading.report;
}

const row = (found: ReturnType<typeof compare>, name: string) => found.rows.find(each => each.name === name);

describe('reports side by side', () => {
  it('of one run have no row that differs, and nothing to beware of', () => {
    const found = compare([report('full'), report('full')]);
    expect(found.rows.filter(each => each.differs)).toEqual([]);
    expect(found.cautions).toEqual([]);
  });

  it('mark what differs, with the interval of each speed-up', () => {
    const found = compare([
      report('full'),
      report('full', each => {
        each.request.pattern = '1:4';
      }),
    ]);
    expect(found.rows.filter(each => each.differs).map(each => each.name)).toEqual(['pattern']);
    expect(row(found, 'speed-up')?.values[0]).toMatch(/^\d+\.\d\dx \(\d+\.\d\d to \d+\.\d\d\)$/);
  });

  it('of two machines and clocks say that their times cannot be compared', () => {
    const found = compare([
      report('full'),
      report('full', each => {
        each.measurement.evidence.device = 'another device';
        if (each.measurement.kind === 'timed') {
          each.measurement.clock = 'wall';
        }
        each.machine = { cpu: 'another', architecture: 'arm64', cores: 8, system: 'Darwin', load_1min: null };
      }),
    ]);
    expect(found.cautions).toEqual(['Their times cannot be compared: they differ in device, clock and machine.']);
  });

  it('never show an estimate beside times', () => {
    const found = compare([report('full'), report('estimated')]);
    for (const name of ['speed-up', 'dense', 'pruned']) {
      expect(row(found, name)?.values[0]).toMatch(/\d/);
      expect(row(found, name)?.values[1]).toBe('an estimate, left out beside times');
    }
    expect(row(found, 'verdict')?.values[1]).toBe('estimated');
    expect(found.cautions).toEqual(["1 of these 2 is a compiler's estimate, without numbers beside times."]);
  });

  it('show estimates beside each other, and say where they are of two compilers', () => {
    const other = report('estimated', each => {
      each.measurement.evidence.device = 'another compiler';
    });
    const found = compare([report('estimated'), other]);
    expect(row(found, 'speed-up')?.values).toEqual(['estimated 1.79x', 'estimated 1.79x']);
    expect(row(found, 'dense')?.values[0]).toBe('5 M cycles');
    expect(found.cautions).toEqual(['Their estimates cannot be compared: they differ in device.']);
    expect(compare([report('estimated'), report('compiled')]).cautions).toEqual(['1 of these 2 was not measured.']);
  });

  it('say what was not measured, and take it for no other condition', () => {
    const found = compare([report('full'), report('unmeasured')]);
    expect(found.cautions).toEqual(['1 of these 2 was not measured.']);
    expect(row(found, 'speed-up')?.values[1]).toBe('not measured');
    expect(row(found, 'dense')?.values[1]).toBe('not measured');
  });
});
