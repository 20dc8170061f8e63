import { KEYS, element, freshId } from '../elements';
import { share } from '../format';
import { nameOf, text, type Row } from '../words';
import { draw, thumbnail, zoomed, type View } from './draw';
import { decoded, type Mask } from './mask';

const LONG_SIDE = 224; // pixels; twice as many are drawn, for screens that have them
const THINNEST = 0.25; // short side by long side: a bias is a strip, and not a hair
const STEPS = 20;

/** A layer's mask, small; without a picture there is none. */
export function thumbnailOf(row: Row): HTMLElement | null {
  const { layer } = row;
  const mask = layer.picture === null ? null : decoded(layer.picture);
  if (mask === null) {
    return null;
  }
  const canvas = element('canvas', { class: 'hwprune-thumbnail', attributes: { role: 'img' } });
  canvas.setAttribute('aria-label', described(row, mask));
  thumbnail(canvas, mask);
  return canvas;
}

/** The mask large: all of it beside a part that a slider magnifies down to single weights. */
export function heatmap(row: Row): HTMLElement {
  const { layer } = row;
  const mask = layer.picture === null ? null : decoded(layer.picture);
  if (mask === null) {
    const said =
      layer.picture === null ? 'There is no picture of this mask here.' : 'The picture of this mask is damaged.';
    return element('p', { class: 'hwprune-quiet' }, said);
  }
  const tiles = `The density of ${mask.tileRows} by ${mask.tileColumns} tiles.`;
  const whole = element('canvas', { attributes: { role: 'img', 'aria-label': `${described(row, mask)} ${tiles}` } });
  const part = element('canvas', { attributes: { role: 'img' } });
  const frame = element('div', { class: 'hwprune-frame' });
  const slider = element('input', {
    attributes: { type: 'range', min: '0', max: String(STEPS), value: String(STEPS), id: freshId('zoom'), ...KEYS },
  });
  const label = element('label', { attributes: { for: slider.id } }, 'zoom');
  const about = element('figcaption', {}, `all ${mask.rows} x ${mask.columns}; dark is gone, light is kept`);
  const caption = element('figcaption', {});

  const all: View = { rows: mask.rows, columns: mask.columns };
  const shown = () => zoomed(mask, Number(slider.value) / STEPS);
  const redraw = () => {
    const view = shown();
    size(part, view);
    draw(part, mask, view);
    frame.style.width = percent(view.columns / mask.columns);
    frame.style.height = percent(view.rows / mask.rows);
    const range = `rows 0 to ${Math.ceil(view.rows) - 1}, columns 0 to ${Math.ceil(view.columns) - 1}`;
    const isCorner = slider.value === slider.max;
    caption.textContent = isCorner ? `${range}: weight by weight` : range;
    slider.setAttribute('aria-valuetext', range);
    part.setAttribute('aria-label', `${nameOf(layer, 60)}: ${range}, single weights where the corner of the mask is`);
  };
  size(whole, all);
  draw(whole, mask, all);
  redraw();
  slider.addEventListener('input', redraw);
  tell(whole, about, mask, () => all, false);
  tell(part, caption, mask, shown, true);
  return element(
    'div',
    { class: 'hwprune-heatmap' },
    element('figure', {}, element('div', { class: 'hwprune-whole' }, whole, frame), about),
    element('figure', {}, part, caption, element('div', { class: 'hwprune-zoom' }, label, slider))
  );
}

function size(canvas: HTMLCanvasElement, { rows, columns }: View): void {
  const long = Math.max(rows, columns);
  const side = (length: number) => Math.round(LONG_SIDE * Math.max(THINNEST, length / long));
  canvas.width = 2 * side(columns);
  canvas.height = 2 * side(rows);
  canvas.style.width = `${side(columns)}px`;
}

/** What the pixels say, in words. */
function described({ layer, cells }: Row, mask: Mask): string {
  const kept = layer.sparsity === null ? '' : `, ${share(1 - layer.sparsity)} kept`;
  const groups = layer.valid_groups === null ? '' : `, ${share(layer.valid_groups)} of its groups hold it`;
  const pattern = `${layer.pattern ?? 'the pattern'} valid: ${text(cells.valid ?? null)}${groups}`;
  return `Mask of ${nameOf(layer, 60)}, ${mask.rows} by ${mask.columns}${kept}; ${pattern}.`;
}

/** Say in the caption what lies under the pointer. */
function tell(canvas: HTMLCanvasElement, caption: HTMLElement, mask: Mask, view: () => View, weights: boolean): void {
  let before: string | null = null;
  canvas.addEventListener('pointermove', event => {
    const box = canvas.getBoundingClientRect();
    const { rows, columns } = view();
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
    const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
    before ??= caption.textContent;
    caption.textContent = at(mask, Math.max(0, row), Math.max(0, column), weights);
  });
  canvas.addEventListener('pointerleave', () => {
    caption.textContent = before;
    before = null;
  });
}

export function at(mask: Mask, row: number, column: number, weights: boolean): string {
  if (weights && row < mask.cornerRows && column < mask.cornerColumns) {
    const kept = mask.corner[row * mask.cornerColumns + column] === 1;
    return `row ${row}, column ${column}: ${kept ? 'kept' : 'gone'}`;
  }
  const [high, wide] = [mask.rows / mask.tileRows, mask.columns / mask.tileColumns];
  const down = Math.min(mask.tileRows - 1, Math.floor(row / high));
  const across = Math.min(mask.tileColumns - 1, Math.floor(column / wide));
  const density = (mask.tiles[down * mask.tileColumns + across] ?? 0) / 255;
  const range = (from: number, size: number) => {
    const [first, last] = [Math.floor(from * size), Math.ceil((from + 1) * size) - 1];
    return first === last ? String(first) : `${first} to ${last}`;
  };
  return `rows ${range(down, high)}, columns ${range(across, wide)}: ${share(density)} kept`;
}

function percent(part: number): string {
  return `${Math.min(100, Math.max(0.5, 100 * part))}%`;
}
