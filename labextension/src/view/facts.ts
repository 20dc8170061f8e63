/** The whole model's facts as names and words, in the order to read them, as the Python side says them. */
import type { Layer, Report } from '../report';
import {
  UNKNOWN,
  counted,
  exponential,
  fixed,
  general,
  milliseconds,
  removed,
  share,
  threeDigits,
  count,
} from './format';
import { againLine } from './line';
import type { Seen } from './reading';
import { interval, middleCut, speed, text, versions } from './words';

export type Fact = readonly [name: string, said: string];

export function facts(report: Seen<Report>): Fact[] {
  const { request, totals, scores } = report;
  const trained: Fact[] =
    request.schedule === null || request.schedule === 'one-shot'
      ? []
      : [['trained', `after each of ${counted(request.steps ?? 0, 'step')}, ${request.schedule}`]];
  const score: Fact[] =
    scores === null ? [] : [['score', `${four(scores.dense)} → ${four(scores.pruned)}  (${text(scores.expression)})`]];
  const guide: Fact[] =
    report.typical_speedup === null
      ? []
      : [['guide', `expects ${report.typical_speedup} of this chip; that is not a measurement`]];
  return [
    ...(report.measurement.dense_ms === null ? whyNotMeasured(report) : measured(report)),
    ...energy(report),
    ...counters(report),
    ['weights', removed(totals.weights, totals.pruned_weights)],
    ...layerErrors(report.layers),
    ...mostSensitive(report),
    ...served(report.layers),
    ...compressed(report.layers),
    ...macs(report),
    ...outputs(report),
    ...trained,
    ...score,
    ...guide,
  ];
}

function four(value: number | null): string {
  return value === null ? UNKNOWN : general(value, 4);
}

function measured(report: Seen<Report>): Fact[] {
  const { measurement, request } = report;
  const clock = measurement.clock === 'cpu' ? 'process-CPU time' : 'wall time';
  const rounds = measurement.dense?.cpu_ms.length ?? 0;
  const how = request.device === 'CPU' ? counted(request.threads ?? 0, 'thread') : text(request.dtype);
  return [
    ['time', `${milliseconds(measurement.dense_ms)} → ${milliseconds(measurement.pruned_ms)}`],
    ['measured', `${clock} of a batch of ${request.batch ?? '?'}, ${how}, ${rounds} interleaved rounds`],
    ['on', `${text(measurement.evidence.device)}, ${versions(report)}`],
    ...launches(report),
    ...baselines(report),
  ];
}

function whyNotMeasured(report: Seen<Report>): Fact[] {
  const { evidence } = report.measurement;
  const there: Fact[] = [
    ['the line', `${againLine(report.request)}; then \`%hwprune merge\` joins its report with this one`],
  ];
  return [
    ['not measured', evidence.reason ?? ''],
    ['cure', evidence.cure ?? 'none known'],
    ...(report.request.device === 'CPU' ? [] : there),
  ];
}

/** How an accelerator's kernels were started, and what it costs to start them one by one. */
function launches(report: Seen<Report>): Fact[] {
  const { dense_launch: dense, pruned_launch: pruned } = report.measurement;
  if (dense === null || pruned === null) {
    return [];
  }
  const way = dense.way === pruned.way ? text(dense.way) : `${text(dense.way)} → ${text(pruned.way)}`;
  const eager = `kernel by kernel ${milliseconds(dense.eager_ms)} → ${milliseconds(pruned.eager_ms)}`;
  return [['started as', `${way}; ${eager}; the layers below are profiled kernel by kernel`]];
}

/** The pruned model beside the dense one in the runtimes that a user has anyway. */
function baselines(report: Seen<Report>): Fact[] {
  return report.baselines.map(each => {
    const dense = `dense with ${text(each.toolchain)}`;
    if (each.dense_ms === null) {
      return ['against', `${dense}: ${UNKNOWN}, ${text(each.evidence.reason)}`];
    }
    const spread = interval(each.speed);
    const ours = `so pruned with ${text(report.request.toolchain)} it is ${speed(each.speed)}`;
    return ['against', `${dense}: ${milliseconds(each.dense_ms)}, ${ours}${spread === null ? '' : ` (${spread})`}`];
  });
}

function energy({ energy: found }: Seen<Report>): Fact[] {
  if (found === null) {
    return [];
  }
  const { dense, pruned, idle_mw: idle } = found;
  if (dense === null || pruned === null || idle === null) {
    const { reason, cure } = found.evidence;
    return [['energy', `${UNKNOWN}: ${text(reason)}. Cure: ${text(cure)}`]];
  }
  const mj = (a: number | null, b: number | null) =>
    `${a === null ? UNKNOWN : threeDigits(a)} → ${b === null ? UNKNOWN : threeDigits(b)} mJ`;
  const mw = (value: number | null) => (value === null ? UNKNOWN : fixed(value, 0));
  const apart = Math.max(
    ...[dense, pruned].map(each => Math.max(...each.windows_mj) / Math.min(...each.windows_mj) - 1)
  );
  const spread = Number.isFinite(apart) ? `, apart by up to ${fixed(100 * apart, 1)} %` : '';
  const windows = `${dense.windows_mj.length} windows of ${dense.window_s === null ? '?' : fixed(dense.window_s, 1)} s each`;
  return [
    [
      'energy',
      `${mj(dense.total_mj, pruned.total_mj)} a run of the batch, above idle ` +
        `${mj(dense.above_idle_mj, pruned.above_idle_mj)}; on average ${mw(dense.average_mw)} → ` +
        `${mw(pruned.average_mw)} mW, idle ${mw(idle)} mW (${windows}${spread})`,
    ],
  ];
}

/** What the hardware counters showed; nothing where none were asked for. */
function counters(report: Seen<Report>): Fact[] {
  const found = report.counters;
  if (found === null) {
    return [];
  }
  if (found.kind !== 'measured') {
    return [['counters', `${UNKNOWN}: ${text(found.reason)}. Cure: ${text(found.cure)}`]];
  }
  const known = report.layers.flatMap(layer => (layer.counters === null ? [] : [layer.counters]));
  const sparse = known.filter(each => (each.sparse ?? 0) > 0).length;
  return [
    [
      'counters',
      `sparse Tensor Core operations in ${sparse} of ${counted(known.length, 'layer')} (${text(found.device)})`,
    ],
  ];
}

/** What the layers' outputs lost by themselves, where a solver told. */
function layerErrors(layers: Seen<Layer>[]): Fact[] {
  const errors = layers.flatMap(layer => (layer.error === null ? [] : [{ name: layer.name, error: layer.error }]));
  const worst = errors.reduce<(typeof errors)[0] | null>((a, b) => (a === null || b.error > a.error ? b : a), null);
  if (worst === null) {
    return [];
  }
  const middle = threeDigits(100 * median(errors.map(each => each.error)));
  const most = `${threeDigits(100 * worst.error)} % in ${middleCut(text(worst.name), 40)}`;
  const how = "squared, relative to the layer's own output on the calibration inputs";
  return [['layer error', `median ${middle} %, worst ${most}: ${how}`]];
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}

/** The layers that the model can least do without, where they were scanned. */
function mostSensitive({ sensitivity, layers }: Seen<Report>): Fact[] {
  if (sensitivity === null) {
    return [];
  }
  const shares = new Map(layers.map(layer => [layer.name, layer.sparsity ?? 0]));
  const gone = (layer: string | null) => shares.get(layer) ?? 0;
  const least = [...sensitivity.curves].sort((a, b) => gone(a.layer) - gone(b.layer)).slice(0, 4);
  const named = least.map(each => `${middleCut(text(each.layer), 40)} ${share(gone(each.layer))}`).join(', ');
  return [['sensitivity', `each layer was scanned alone by its ${text(sensitivity.measure)}; least goes of ${named}`]];
}

/** Which of the target's toolchains have a kernel for the pattern in how many layers. */
function served(layers: Seen<Layer>[]): Fact[] {
  const numbers = new Map<string, number>();
  for (const layer of layers) {
    if (layer.served_by !== null) {
      const those = layer.served_by.join(' and ') || 'none';
      numbers.set(those, (numbers.get(those) ?? 0) + 1);
    }
  }
  const said = [...numbers].map(([those, number]) => `${counted(number, 'layer')} by ${those}`);
  return said.length === 0 ? [] : [['served', said.join('; ')]];
}

/** What the pruned layers take in memory, by torch's own compression. */
function compressed(layers: Seen<Layer>[]): Fact[] {
  const sizes = layers.flatMap(layer => (layer.compressed === null ? [] : [layer.compressed]));
  if (sizes.length === 0) {
    return [];
  }
  const before = sizes.reduce((sum, size) => sum + (size.dense_bytes ?? 0), 0);
  const after = sizes.reduce((sum, size) => sum + (size.compressed_bytes ?? 0), 0);
  const of = sizes.length === layers.length ? `${sizes.length} layers` : `${sizes.length} of ${layers.length} layers`;
  const how = "by torch's own 2:4 compression on the CPU";
  return [['compressed', `${count(before)}B → ${count(after)}B in ${of}, ${how}`]];
}

function macs({ totals, layers }: Seen<Report>): Fact[] {
  if (totals.macs === null || totals.pruned_macs === null) {
    return [];
  }
  return [['layer MACs', removed(totals.macs, totals.pruned_macs) + whereMacsWent(layers)]];
}

/** Whether multiply-accumulates are gone, or only have a zero to multiply. */
function whereMacsWent(layers: Seen<Layer>[]): string {
  if (layers.length === 0 || layers.some(layer => layer.shape.join() !== layer.pruned_shape.join())) {
    return '';
  }
  return layers.some(layer => layer.used)
    ? ', the others on zeros, which the sparse kernels skip and dense ones multiply'
    : ', the others on zeros, which a dense kernel multiplies all the same';
}

function outputs({ check }: Seen<Report>): Fact[] {
  if (check === null) {
    return [];
  }
  const [dense, pruned] = [check.dense_error, check.pruned_error].map(each =>
    each === null ? UNKNOWN : exponential(each)
  );
  const tolerance = check.tolerance === null ? 'unknown' : general(check.tolerance, 6);
  const within = `those of ${text(check.reference)} within ${dense} (dense) and ${pruned} (pruned)`;
  return [['outputs', `${within}; tolerance ${tolerance}`]];
}
