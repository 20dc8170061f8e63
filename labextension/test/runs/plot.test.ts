import { describe, expect, it } from 'vitest';

import { labels } from '../../src/panel/compare';
import { aligned } from '../../src/runs/layers';
import { plotted, type Across } from '../../src/runs/plot';
import { frontier } from '../../src/view/frontier';
import { report, type Name } from '../view/reports';

function plot(names: Name[], across: Across = 'time', opened: string[] = []) {
  const runs = names.map((name, index) => ({
    report: report(name),
    label: name,
    number: index + 1,
    open: () => opened.push(name),
  }));
  return plotted(runs, across);
}

describe('the plot of runs', () => {
  it('has each run, its dense and int8 models, and what its search tried', () => {
    const kinds = (names: Name[], across: Across) => plot(names, across).marks.map(({ kind }) => kind);
    expect(kinds(['corners'], 'time')).toEqual(['dense', 'int8', 'run']); // pruned int8 has no score
    expect(kinds(['search'], 'speed-up')).toEqual(['dense', 'tried', 'tried', 'chosen', 'run']);
    expect(kinds(['plain'], 'time')).toEqual(['dense', 'run']);
    expect(plot(['plain']).axes.y).toBe('share of the weights left');
  });

  it('says which runs cannot stand on its axes, and why', () => {
    expect(plot(['search', 'full', 'estimated', 'unmeasured', 'plain']).left).toEqual([
      '2 (full): it differs in threads',
      '3 (estimated): it differs in evidence',
      '4 (unmeasured): not measured',
      '5 (plain): it has no score',
    ]);
  });

  it('draws an estimate against estimates alone, in their unit', () => {
    const { marks, axes } = plot(['estimated']);
    expect(axes.x).toBe('time of a batch, cycles');
    expect(marks.at(-1)).toMatchObject({ kind: 'run', x: 2.8e6 });
    expect(plot(['estimated'], 'speed-up').marks.at(-1)?.x).toBeCloseTo(5 / 2.8);
  });

  it('opens the run of a mark that is clicked or entered', () => {
    const opened: string[] = [];
    const { marks, axes } = plot(['plain', 'search'], 'time', opened);
    const drawn = frontier(marks, axes);
    const button = drawn?.querySelector('g[data-kind=run]');
    button?.dispatchEvent(new MouseEvent('click'));
    button?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' }));
    button?.dispatchEvent(new KeyboardEvent('keydown', { key: 'a' }));
    expect(opened).toEqual(['search', 'search']);
    expect(frontier([], axes)).toBeNull();
  });
});

describe('runs side by side', () => {
  it('are named by what differs between them', () => {
    const other = report('plain');
    other.request.sparsity = 0.75;
    expect(labels([report('plain'), other])).toEqual(['50 %', '75 %']);
    expect(labels([report('plain'), report('plain')])).toEqual(['2:4, 50 %', '2:4, 50 %']);
    const trained = report('plain');
    Object.assign(trained.request, { trained: true, steps: 3 });
    expect(labels([report('plain'), trained])).toEqual(['not trained', 'trained in 3 steps']);
  });

  it('have their layers aligned by name', () => {
    const [full, plain] = [report('full'), report('plain')];
    const rows = aligned([full, plain]);
    expect(rows.map(({ name }) => name)).toHaveLength(5);
    const row = rows.find(({ name }) => name === 'a.very.long.name.of.a.layer');
    expect(row).toMatchObject({ dense: '12.3 µs' });
    expect(row?.cells.map(({ time, gone }) => `${time} ${gone}`)).toEqual([
      '4.50 µs 2:4, 50 % gone',
      ' not in this run',
    ]);
  });
});
