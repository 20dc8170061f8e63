import type { Mask } from './mask';

/** Cividis, which reads the same with every kind of colour vision: none kept is dark, all kept is light. */
const CIVIDIS = ['#00224e', '#1a386f', '#434e6c', '#61656f', '#7d7c78', '#9b9476', '#bcae6c', '#dec958', '#fee838'];
export const [GONE, KEPT] = ['#00224e', '#fee838'];
const SCALE = CIVIDIS.map(hex => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)));

/** Part of a mask from its upper left corner, in weights. */
export interface View {
  rows: number;
  columns: number;
}

/** From the whole mask (0) to its magnified corner (1). */
export function zoomed(mask: Mask, zoom: number): View {
  const between = (whole: number, corner: number) => whole ** (1 - zoom) * corner ** zoom;
  return { rows: between(mask.rows, mask.cornerRows), columns: between(mask.columns, mask.cornerColumns) };
}

/** All tiles, a pixel each; the page makes them larger. */
export function thumbnail(canvas: HTMLCanvasElement, mask: Mask): void {
  canvas.width = mask.tileColumns;
  canvas.height = mask.tileRows;
  const context = canvas.getContext('2d');
  if (context === null) {
    return;
  }
  const image = context.createImageData(mask.tileColumns, mask.tileRows);
  mask.tiles.forEach((density, tile) => {
    image.data.set([...colour(density / 255), 255], 4 * tile);
  });
  context.putImageData(image, 0, 0);
}

/** The tiles in the view, and over them each weight of the corner. */
export function draw(canvas: HTMLCanvasElement, mask: Mask, view: View): void {
  const context = canvas.getContext('2d');
  if (context === null) {
    return;
  }
  const [across, down] = [canvas.width / view.columns, canvas.height / view.rows];
  grid(mask.tileRows, mask.tileColumns, mask.rows / mask.tileRows, mask.columns / mask.tileColumns, (tile, box) => {
    context.fillStyle = `rgb(${colour((mask.tiles[tile] ?? 0) / 255).join(' ')})`;
    fill(box);
  });
  grid(mask.cornerRows, mask.cornerColumns, 1, 1, (weight, box) => {
    context.fillStyle = mask.corner[weight] === 1 ? KEPT : GONE;
    fill(box);
  });

  function fill([row, column, rows, columns]: Box): void {
    const [left, top] = [Math.round(column * across), Math.round(row * down)];
    const [right, bottom] = [Math.round((column + columns) * across), Math.round((row + rows) * down)];
    const gap = Math.min(across * columns, down * rows) >= 7 && rows === 1 && columns === 1 ? 1 : 0; // weights stand apart
    if (left < canvas.width && top < canvas.height) {
      context?.fillRect(left, top, Math.max(1, right - left - gap), Math.max(1, bottom - top - gap));
    }
  }
}

type Box = readonly [row: number, column: number, rows: number, columns: number];

function grid(
  rows: number,
  columns: number,
  high: number,
  wide: number,
  each: (index: number, box: Box) => void
): void {
  for (let index = 0; index < rows * columns; index++) {
    each(index, [Math.floor(index / columns) * high, (index % columns) * wide, high, wide]);
  }
}

/** Red, green and blue of a density from 0 to 1. */
export function colour(density: number): [number, number, number] {
  const at = Math.min(1, Math.max(0, density)) * (SCALE.length - 1);
  const [low, high] = [SCALE[Math.floor(at)] ?? [], SCALE[Math.ceil(at)] ?? []];
  const mix = (channel: number) =>
    Math.round((low[channel] ?? 0) + (at - Math.floor(at)) * ((high[channel] ?? 0) - (low[channel] ?? 0)));
  return [mix(0), mix(1), mix(2)];
}
