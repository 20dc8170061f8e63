/**
 * What goes to the line below its row where there is little room, the least important first; the kernels go last, for
 * they are what a pattern is chosen for. Of a name only its middle goes, and a mask to the opened row.
 */
const DISPENSABLE = ['macs', 'weight', 'pattern', 'removed', 'name', 'mask', 'kernel'];

/** The columns whose cells stand below a row that has no room for them. */
export const FOLDED: ReadonlySet<string> = new Set(DISPENSABLE.filter(each => each !== 'name' && each !== 'mask'));

/** Hide as little as lets the table stand in its place without scrolling, and last the column that it is sorted by. */
export function fit(place: HTMLElement, table: HTMLElement): void {
  const sorted = table.querySelector<HTMLElement>('th:not([aria-sort="none"])[aria-sort]')?.dataset.column;
  const isLast = (name: string) => name === sorted && name !== 'name';
  const names = [...DISPENSABLE.filter(name => !isLast(name)), ...DISPENSABLE.filter(isLast)];
  for (let number = 0; number <= names.length; number++) {
    table.dataset.hidden = names.slice(0, number).join(' ');
    if (place.scrollWidth <= place.clientWidth) {
      return;
    }
  }
}

/** Keep it so while the place grows and shrinks. */
export function keepFitting(place: HTMLElement, table: HTMLElement): void {
  let width = -1;
  new ResizeObserver(() => {
    if (place.clientWidth !== width) {
      width = place.clientWidth;
      fit(place, table);
    }
  }).observe(place);
}
