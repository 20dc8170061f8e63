import type { Layer, Report } from '../../src/report';
import { read, type Reading, type Seen } from '../../src/view/reading';
import { rowsOf, type Row } from '../../src/view/words';
import cases from './cases.json';

export type Data = Record<string, unknown>;
export type Name = keyof typeof cases;

export const NAMES = Object.keys(cases) as Name[];

/** A report as JSON brings it, for a test to change. */
export function data(name: Name = 'full'): Data {
  return structuredClone(cases[name]);
}

export function reading(source: unknown): Reading {
  const found = read(source);
  if (typeof found === 'string') {
    throw new Error(found);
  }
  return found;
}

export function report(name: Name = 'full'): Seen<Report> {
  return reading(data(name)).report;
}

/** The report as version 4 wrote it: one kind of measurement, and no words. */
export function older(name: Name = 'full'): Data {
  const report = data(name);
  const layers = (report.layers as Data[]).map(layer => without(layer, 'evidence', 'estimate'));
  const measurement = without(report.measurement as Data, 'kind');
  return { ...without(report, 'words', 'footprint'), measurement, layers, schema_version: 4 };
}

function without(data: Data, ...names: string[]): Data {
  return Object.fromEntries(Object.entries(data).filter(([name]) => !names.includes(name)));
}

/** The first layer of a plain report, changed. */
export function row(changes: Partial<Seen<Layer>>): Row {
  const [first] = rowsOf(report('plain'));
  if (first === undefined) {
    throw new Error('the case has no layer');
  }
  return { ...first, layer: { ...first.layer, ...changes } };
}
