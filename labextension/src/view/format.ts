/** Numbers as words, exactly as the Python side writes them (render/words.py); unknown is never 0. */

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

export function milliseconds(value: Known): string {
  return value === null ? UNKNOWN : `${threeDigits(value)} ms`;
}

export function microseconds(value: Known): string {
  return value === null ? UNKNOWN : threeDigits(value);
}

/** Three significant digits without an exponent: 0.0123, 1.23, 123, 1234 */
export function threeDigits(value: number): string {
  return fixed(value, value > 0 ? Math.max(0, 2 - Math.floor(Math.log10(value))) : 0);
}

export function counted(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? '' : 's'}`;
}

/** Python's f"{value:.{decimals}f}" */
export function fixed(value: number, decimals: number): string {
  if (Math.abs(value) >= 1e21) {
    return String(value);
  }
  const places = Math.min(decimals, 40);
  return halfEven(value.toFixed(places), value.toFixed(places + SPARE));
}

/** Python's f"{value:.{digits}g}" */
export function general(value: number, digits: number): string {
  const [mantissa, power] = mantissaOf(value, digits - 1);
  const short = power >= -4 && power < digits;
  const number = short ? fixed(value, digits - 1 - power) : mantissa;
  return (number.includes('.') ? number.replace(/\.?0+$/, '') : number) + (short ? '' : exponentOf(power));
}

/** Python's f"{value:.0e}" */
export function exponential(value: number): string {
  const [mantissa, power] = mantissaOf(value, 0);
  return mantissa + exponentOf(power);
}

const SPARE = 60; // more digits than the fraction of any number has that lies half way between two short ones

function mantissaOf(value: number, decimals: number): [string, number] {
  const [up = '', power = '0'] = value.toExponential(decimals).split('e');
  const [exact = ''] = value.toExponential(decimals + SPARE).split('e');
  return [halfEven(up, exact), Number(power)];
}

/** Half way between two numbers Python goes to the even digit, and JavaScript away from zero. */
function halfEven(rounded: string, exact: string): string {
  const down = exact.slice(0, -SPARE).replace(/\.$/, '');
  const isTie = /^50*$/.test(exact.slice(-SPARE));
  return isTie && /[02468]$/.test(down) ? down : rounded;
}

function exponentOf(power: number): string {
  return `e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`;
}
