/** About four round values between the ends of a linear axis. */
export function steps(low: number, high: number): number[] {
  const rough = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10].find(each => each * size >= rough) ?? 10) * size;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, index) => (first + index) * step);
}

/** The ends of an axis that shows what differs: from 0 where the values are not all close together. */
export function ends(values: readonly number[]): [number, number] {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least) * 0.15 || Math.abs(most) * 0.05 || 1;
  const low = least >= 0 && least < most / 2 ? 0 : least - room;
  return [least >= 0 ? Math.max(0, low) : low, most + room];
}
