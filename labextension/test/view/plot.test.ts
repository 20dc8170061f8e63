import { describe, expect, it } from 'vitest';

import { apart, ticks } from '../../src/view/sensitivity/chart';
import { bySensitivity, onLine, plotted } from '../../src/view/sensitivity/plot';

const curve = (layer: string, ...errors: (number | null)[]) => ({
  layer,
  weights: 10,
  group: 1,
  points: errors.map((error, index) => ({ sparsity: (index + 1) / 4, error })),
});
const scan = (...curves: ReturnType<typeof curve>[]) => ({
  measure: 'output error' as const,
  rows: 1,
  passes: 1,
  curves,
});

describe('a scan', () => {
  it('has the layer first that lost most, and before it those whose error was no number', () => {
    const curves = bySensitivity(scan(curve('low', 0.1, 0.2), curve('high', 0.5, 0.9), curve('broken', 0.1, null)));
    expect(curves.map(each => each.layer)).toEqual(['broken', 'high', 'low']);
  });

  it('is drawn on a logarithmic axis where its errors span decades', () => {
    expect(plotted(scan(curve('a', 1e-5, 1e-3, 0.5)), new Map()).log).toBe(true);
    expect(plotted(scan(curve('a', 0.1, 0.2, 0.5)), new Map()).log).toBe(false);
  });

  it('has a dot on its line at the sparsity that was chosen', () => {
    const [line] = plotted(scan(curve('a', 0.1, 0.3, 0.5)), new Map([['a', 0.375]])).lines;
    expect(line?.chosen?.[1]).toBeCloseTo(0.2);
  });

  it('leaves some grey lines out where there are very many, and says how many', () => {
    const plot = plotted(scan(...Array.from({ length: 212 }, (_, index) => curve(String(index), index))), new Map());
    expect(plot.lines.length + plot.greyLeftOut).toBe(212);
    expect(plot.lines.filter(line => line.rank !== null)).toHaveLength(12);
    expect(plot.lines.length).toBeLessThan(45);
  });

  it.each([[[]], [[null, null]], [[0, 0]], [[-0.1, -0.2]]])('of the errors %j is drawn within finite axes', errors => {
    const { low, high } = plotted(scan(curve('a', ...errors)), new Map([['a', 0.5]]));
    expect(Number.isFinite(low) && Number.isFinite(high)).toBe(true);
  });
});

it('left of the first point a line falls with the square, right of the last it stays', () => {
  expect(onLine([[0.5, 4]], 0.25, null)).toBe(1);
  expect(onLine([[0.5, 4]], 0.9, null)).toBe(4);
});

it('ticks are round numbers between the ends of the axis', () => {
  expect(ticks({ lines: [], log: true, low: 2e-3, high: 3, greyLeftOut: 0 })).toEqual([0.01, 0.1, 1]);
  expect(ticks({ lines: [], log: false, low: 0, high: 0.53, greyLeftOut: 0 })).toHaveLength(3);
});

it('names that would meet are moved apart, and stay above the lower end', () => {
  const places = apart([10, 10, 12, 95, 99], 100, 15);
  expect(places.every((place, index) => index === 0 || place - (places[index - 1] ?? 0) >= 15)).toBe(true);
  expect(Math.max(...places)).toBeLessThanOrEqual(100);
});
