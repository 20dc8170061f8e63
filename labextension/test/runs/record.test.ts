import { describe, expect, it } from 'vitest';

import { MOST_CHARACTERS, MOST_RUNS, keyOf, readBook, thin, written } from '../../src/runs/record';
import { read } from '../../src/view/reading';
import { reportView } from '../../src/view/report_view';
import { wordsOf } from '../../src/view/words';
import { NAMES, report, type Name } from '../view/reports';

function made(day: number, name: Name = 'plain') {
  const changed = report(name);
  changed.created = `2026-01-${String(day).padStart(2, '0')}`;
  return { cellId: `cell-${day}`, report: changed };
}

describe('the runs that a notebook keeps', () => {
  it.each(NAMES)('come back from its metadata, to be compared and drawn: %s', name => {
    const before = made(1, name);
    const data = JSON.parse(JSON.stringify(written({ kept: [before], dropped: 0 }))) as unknown;
    const [after] = readBook(data).kept;
    if (after === undefined) {
      throw new Error('the run was not kept');
    }
    expect(keyOf(after.report)).toBe(keyOf(before.report));
    expect(after.cellId).toBe('cell-1');
    expect(wordsOf(after.report).headline).toBe(wordsOf(before.report).headline);
    expect(after.report.scores).toEqual(before.report.scores);
    expect(after.report.layers.map(each => each.dense_us).sort()).toEqual(
      before.report.layers.map(each => each.dense_us).sort()
    );
    expect(reportView({ report: after.report, notes: [] }).textContent).toContain('keeps a short form of this run');
  });

  it('are dropped from the oldest on, and counted', () => {
    const kept = Array.from({ length: MOST_RUNS + 3 }, (_, index) => made(index + 1));
    const book = readBook(written({ kept, dropped: 2 }));
    expect(book.kept).toHaveLength(MOST_RUNS);
    expect(book.dropped).toBe(5);
    expect(book.kept.at(-1)?.report.created).toBe('2026-01-04');
  });

  it('have room for so many characters, however large a model is', () => {
    const large = made(1);
    const [layer] = large.report.layers;
    large.report.layers = Array.from({ length: 5000 }, (_, index) => ({
      ...layer,
      name: `l.${index}`,
      dense_us: index,
    })) as typeof large.report.layers;
    const record = thin(large.report) as { layers: { name: string }[]; omitted: string[] };
    expect(record.layers[0]?.name).toBe('l.4999');
    expect(record.omitted.join(' ')).toContain(`${5000 - record.layers.length} layers that take less time`);
    const kept = Array.from({ length: 30 }, (_, index) => ({
      ...large,
      report: { ...large.report, created: `2026-02-${index + 10}` },
    }));
    const data = written({ kept, dropped: 0 });
    expect(JSON.stringify(data).length).toBeLessThan(MOST_CHARACTERS * 1.01);
    expect(readBook(data).dropped).toBe(30 - readBook(data).kept.length);
  });

  it('are none where the metadata is anything else', () => {
    for (const data of [
      null,
      7,
      'text',
      [],
      {},
      { runs: 7 },
      { runs: [null, 7, {}, { report: null }, { report: {} }, { report: '{}' }], dropped: -1 },
    ]) {
      expect(readBook(data)).toEqual({ kept: [], dropped: 0 });
    }
    expect(read(thin(report('full')))).not.toBeTypeOf('string');
  });
});
