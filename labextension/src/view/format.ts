/** Numbers as words, for axes, captions and what has no words of its own; unknown is never 0. */

export const UNKNOWN = 'not measured';
type Known = number | null;

/** 1234567 -> 1.23 M */
export function count(value: Known): string {
  if (value === null) {
    return UNKNOWN;
  }
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const) {
    if (value >= size) {
      return `${general(value / size, 3)} ${unit}`;
    }
  }
  return general(value, 6);
}

export function share(value: Known): string {
  return value === null ? UNKNOWN : `${fixed(value * 100, 0)} %`;
}

/** What is gone: 25.6 M → 6.9 M (-73 %) */
export function removed(before: Known, after: Known): string {
  const gone = before !== null && after !== null && before > 0 && after < before;
  return `${count(before)} → ${count(after)}${gone ? ` (-${share(1 - after / before)})` : ''}`;
}

/** The sizes of files: 25.6 MB → 6.9 MB (-73 %) */
export function sizes(before: Known, after: Known): string {
  if (before === null && after === null) {
    return UNKNOWN;
  }
  const said = (bytes: Known) => (bytes === null ? UNKNOWN : `${count(bytes)}${bytes < 1000 ? ' ' : ''}B`);
  const gone = before !== null && after !== null && before > 0 && after < before;
  return `${said(before)} → ${said(after)}${gone ? ` (-${share(1 - after / before)})` : ''}`;
}

export function milliseconds(value: Known): string {
  return value === null ? UNKNOWN : `${threeDigits(value)} ms`;
}

/** Three significant digits without an exponent: 0.0123, 1.23, 123, 1234 */
export function threeDigits(value: number): string {
  return fixed(value, value > 0 ? Math.max(0, 2 - Math.floor(Math.log10(value))) : 0);
}

export function counted(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

export function fixed(value: number, decimals: number): string {
  return value.toFixed(Math.min(decimals, 40));
}

/** At most so many significant digits, with no zeros at their end. */
export function general(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}
