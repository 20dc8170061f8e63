/** Facts of a report as words, exactly as the Python side says them (render/words.py). */
import type { Comparison, Layer, Report, Skipped, Returned, Baseline } from '../report';
import { UNKNOWN, count, fixed, microseconds, share } from './format';
import type { Seen } from './reading';

type SeenLayer = Seen<Layer>;
type SeenReport = Seen<Report>;

/** The fastest dense model among the baselines, null where none was timed. */
export function bestBaseline(report: SeenReport): Seen<Baseline> | null {
  const timed = report.baselines.filter(each => each.dense_ms !== null && each.speed.speedup !== null);
  return timed.reduce<Seen<Baseline> | null>(
    (best, each) => (best === null || (each.dense_ms ?? 0) < (best.dense_ms ?? 0) ? each : best),
    null
  );
}

/** The comparison that decides: a runtime that a user would not otherwise need has to beat those that they have. */
export function deciding(report: SeenReport): Seen<Comparison> {
  const own = report.measurement.comparison;
  const rival = bestBaseline(report);
  const ownDecides =
    rival === null || own.speedup === null || own.verdict === 'slower' || rival.speed.verdict === 'faster';
  return ownDecides ? own : rival.speed;
}

export function headline(report: SeenReport): string {
  const comparison = deciding(report);
  if (comparison.speedup === null || comparison.verdict === null) {
    return UNKNOWN.toUpperCase();
  }
  const said = `${comparison.verdict.toUpperCase()} ${fixed(comparison.speedup, 2)}x`;
  const rival = bestBaseline(report);
  return rival?.speed === comparison ? `${said} against dense with ${text(rival.toolchain)}` : said;
}

export function interval(comparison: Seen<Comparison>): string | null {
  const { low, high, noise_floor: floor } = comparison;
  if (low === null || high === null || floor === null) {
    return null;
  }
  return `95 % interval ${fixed(low, 2)} to ${fixed(high, 2)}, noise floor ${fixed(100 * floor, 1)} %`;
}

export function what(report: SeenReport): string {
  const request = report.request;
  const dtype = request.device !== 'CPU' && request.dtype ? `, ${request.dtype}` : '';
  const by = ['magnitude', 'recipe', null].includes(request.importance) ? '' : ` by ${text(request.importance)}`;
  const pattern = `${text(request.pattern)} at ${share(request.sparsity)}${by}`;
  return `${text(request.model)} for ${text(request.target)}, ${pattern}, ${text(request.toolchain)}${dtype}`;
}

export function yesNo(value: boolean | null): string {
  return value === null ? UNKNOWN : value ? 'yes' : 'no';
}

export function speed(comparison: Seen<Comparison>): string {
  if (comparison.speedup === null || comparison.verdict === null) {
    return UNKNOWN;
  }
  return comparison.verdict === 'no measurable gain'
    ? 'within noise'
    : `${comparison.verdict} ${fixed(comparison.speedup, 2)}x`;
}

/** The layer's name cut to a width; a model that is a layer itself has no name, so its kind. */
export function nameOf(layer: SeenLayer | Seen<Skipped> | Seen<Returned>, width: number): string {
  return middleCut(layer.name === null || layer.name === '' ? text(layer.kind) : layer.name, width);
}

/** The end of a dotted name, which tells layers of one kind apart where there is little room. */
export function lastParts(name: string, width: number): string {
  if (name.length <= width) {
    return name;
  }
  const dot = name.indexOf('.', name.length - width);
  return dot < 0 ? middleCut(name, width) : `…${name.slice(dot + 1)}`;
}

export function middleCut(said: string, width: number): string {
  const characters = Array.from(said);
  if (characters.length <= width) {
    return said;
  }
  const half = Math.floor(width / 2);
  return `${characters.slice(0, half - 1).join('')}…${characters.slice(-half).join('')}`;
}

export function valid(layer: SeenLayer): string {
  return layer.valid === null ? UNKNOWN : layer.valid ? 'yes' : `${share(layer.valid_groups)} of groups`;
}

export function shapes(layer: SeenLayer): string {
  const [before, after] = [layer.shape.join('x'), layer.pruned_shape.join('x')];
  return before === after ? before : `${before} → ${after}`;
}

export function macs(layer: SeenLayer): string {
  return `${count(layer.macs)} → ${count(layer.pruned_macs)}`;
}

export function times(layer: SeenLayer): string {
  const unknown = layer.dense_us === null && layer.pruned_us === null;
  return unknown ? UNKNOWN : `${microseconds(layer.dense_us)} → ${microseconds(layer.pruned_us)}`;
}

export function kernels(layer: SeenLayer): string {
  if (layer.kernel === null && layer.pruned_kernel === null) {
    return UNKNOWN;
  }
  const before = withUtilization(layer.kernel, layer.utilization?.dense ?? null);
  const after = withUtilization(layer.pruned_kernel, layer.utilization?.pruned ?? null);
  return before === after ? before : `${before} → ${after}`;
}

/** A kernel with its dense arithmetic by its time as a share of the core's peak, where that is known. */
function withUtilization(kernel: string | null, utilization: number | null): string {
  if (kernel === null) {
    return UNKNOWN;
  }
  return utilization === null ? kernel : `${kernel} at ${share(utilization)}`;
}

/** The time of the kernels that belong to no pruned layer, or null where nothing was profiled. */
export function otherKernels(report: SeenReport): string | null {
  const others = report.other_kernels;
  const said = (us: number | null) => (us === null ? UNKNOWN : `${microseconds(us)} µs`);
  const none = others === null || (others.dense_us === null && others.pruned_us === null);
  return none ? null : `${said(others.dense_us)} → ${said(others.pruned_us)}`;
}

/** The layers that went back to dense, each with its reason. */
export function returned(report: SeenReport): string[] {
  return report.returned.map(layer => {
    const rows = layer.rows === null ? '' : ` (${layer.rows} rows)`;
    return `${nameOf(layer, 60)}${rows}: ${text(layer.reason)}`;
  });
}

/** The layers that were left dense, by their reason. */
export function leftDense(skipped: Seen<Skipped>[]): string[] {
  const byReason = new Map<string, string[]>();
  for (const layer of skipped) {
    const reason = text(layer.reason);
    const names = byReason.get(reason) ?? [];
    names.push(nameOf(layer, 60));
    byReason.set(reason, names);
  }
  return [...byReason].map(([reason, names]) => `${some(names)}: ${reason}`);
}

function some(names: string[], most = 4): string {
  const shown = names.slice(0, most).join(', ');
  return names.length <= most ? shown : `${shown} and ${names.length - most} more`;
}

/** Whether each layer has a time of its own, so that they can be ranked by it; else it is by MACs. */
export function allTimed(layers: SeenLayer[]): boolean {
  return layers.every(layer => layer.dense_us !== null);
}

export function versions(report: SeenReport): string {
  const shown = Object.entries(report.versions).filter(([name]) => name !== 'python' && name !== 'numpy');
  return shown.map(([name, version]) => `${name} ${text(version)}`).join(', ');
}

/** A word that the report has to have, and this one perhaps lacks. */
export function text(value: string | null): string {
  return value ?? 'unknown';
}
