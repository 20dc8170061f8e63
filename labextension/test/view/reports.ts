import type { Layer, Report } from '../../src/report';
import { read, type Reading, type Seen } from '../../src/view/reading';
import cases from './words.json';

export type Data = Record<string, unknown>;

/** A report as JSON brings it, for a test to change. */
export function data(name: keyof typeof cases.reports = 'full'): Data {
  return structuredClone(cases.reports[name].data);
}

export function reading(source: unknown): Reading {
  const found = read(source);
  if (typeof found === 'string') {
    throw new Error(found);
  }
  return found;
}

export function report(name: keyof typeof cases.reports = 'full'): Seen<Report> {
  return reading(data(name)).report;
}

export function layer(changes: Partial<Seen<Layer>>): Seen<Layer> {
  const [first] = report('plain').layers;
  if (first === undefined) {
    throw new Error('the case has no layer');
  }
  return { ...first, ...changes };
}
