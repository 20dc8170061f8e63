import { describe, expect, it } from 'vitest';

import { colour, zoomed } from '../../src/view/heatmap/draw';
import { decoded } from '../../src/view/heatmap/mask';
import { at } from '../../src/view/heatmap/zoom';

const base64 = (...bytes: number[]) => btoa(String.fromCharCode(...bytes));
// 8 x 20 weights: 2 x 2 tiles, and a corner of 2 x 10 weights whose rows take two bytes
const PICTURE = {
  rows: 8,
  columns: 20,
  tile_rows: 2,
  tile_columns: 2,
  tiles: base64(255, 0, 128, 64),
  corner_rows: 2,
  corner_columns: 10,
  corner: base64(0b10110000, 0b01000000, 0b00000001, 0b10000000),
};

describe('a picture', () => {
  it('is decoded weight by weight, rows padded to whole bytes', () => {
    const mask = decoded(PICTURE);
    expect([...(mask?.tiles ?? [])]).toEqual([255, 0, 128, 64]);
    expect([...(mask?.corner ?? [])].join('')).toBe('10110000010000000110');
  });

  it.each([
    { tiles: '!!!' },
    { tiles: base64(1, 2, 3) },
    { corner: base64(1) },
    { corner: null },
    { tile_rows: 0 },
    { tile_rows: 65 },
    { tile_columns: 1.5 },
    { rows: null },
    { rows: -1 },
  ])('is none where it is damaged: %j', damage => {
    expect(decoded({ ...PICTURE, ...damage })).toBeNull();
  });
});

describe('what lies under the pointer', () => {
  const mask = decoded(PICTURE);

  it.each([
    [0, 0, true, 'row 0, column 0: kept'],
    [0, 1, true, 'row 0, column 1: gone'],
    [1, 8, true, 'row 1, column 8: kept'],
    [0, 0, false, 'rows 0 to 3, columns 0 to 9: 100 % kept'],
    [0, 10, true, 'rows 0 to 3, columns 10 to 19: 0 % kept'],
    [7, 19, false, 'rows 4 to 7, columns 10 to 19: 25 % kept'],
    [99, 99, false, 'rows 4 to 7, columns 10 to 19: 25 % kept'],
  ])('at %d, %d is said', (row, column, weights, said) => {
    expect(mask && at(mask, row, column, weights)).toBe(said);
  });

  it('is the whole mask at one end of the zoom and the corner at the other', () => {
    expect(mask && zoomed(mask, 0)).toEqual({ rows: 8, columns: 20 });
    expect(mask && zoomed(mask, 1)).toEqual({ rows: 2, columns: 10 });
  });
});

it('is dark where all is gone, and lighter the more is kept', () => {
  const light = [0, 0.25, 0.5, 0.75, 1].map(density => colour(density).reduce((sum, channel) => sum + channel));
  expect(light).toEqual([...light].sort((a, b) => a - b));
  expect(colour(0)).toEqual([0, 0x22, 0x4e]);
  expect(colour(1)).toEqual([0xfe, 0xe8, 0x38]);
});
