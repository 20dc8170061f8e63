/** Which of a report's comparisons decides, as numbers to draw and to compare. */
import type { Baseline, Comparison, Corner, Report, Timed } from '../report';
import type { Seen } from './reading';

type SeenReport = Seen<Report>;

const NOT_COMPARED: Seen<Comparison> = { speedup: null, low: null, high: null, noise_floor: null, verdict: null };

/** What was timed, null where the numbers are a compiler's, or there are none. */
export function timedOf({ measurement }: SeenReport): Seen<Timed> | null {
  return measurement.kind === 'timed' ? measurement : null;
}

/** How many times less the pruned model takes by a compiler's cost model, null where nothing was estimated. */
export function estimatedRatio({ measurement }: SeenReport): number | null {
  if (measurement.kind !== 'estimated' || measurement.dense === null || measurement.pruned === null) {
    return null;
  }
  return measurement.dense > 0 && measurement.pruned > 0 ? measurement.dense / measurement.pruned : null;
}

/**
 * With several runtimes, the fastest pruned against the fastest dense model decides, and with int8 the fastest of the
 * four models; a runtime that a user would not otherwise need has to beat those
 * that they have.
 */
export function deciding(report: SeenReport): Seen<Comparison> {
  if (report.runtimes !== null) {
    return report.runtimes.speed;
  }
  const fastest = fastestOf(report);
  if (fastest !== null) {
    return fastest.speed;
  }
  const own = timedOf(report)?.comparison ?? NOT_COMPARED;
  const rival = bestBaseline(report);
  const ownDecides =
    rival === null || own.speedup === null || own.verdict === 'slower' || rival.speed.verdict === 'faster';
  return ownDecides ? own : rival.speed;
}

/** The fastest of the models that are not the dense one in float, null where there are no int8 models. */
export function fastestOf({ corners }: SeenReport): Seen<Corner> | null {
  const timed = (corners?.rows ?? []).slice(1).filter(each => each.ms !== null);
  return timed.reduce<Seen<Corner> | null>(
    (best, each) => (best === null || (each.ms ?? 0) < (best.ms ?? 0) ? each : best),
    null
  );
}

/** The fastest dense model among the baselines, null where none was timed. */
export function bestBaseline(report: SeenReport): Seen<Baseline> | null {
  const timed = report.baselines.filter(each => each.dense_ms !== null && each.speed.speedup !== null);
  return timed.reduce<Seen<Baseline> | null>(
    (best, each) => (best === null || (each.dense_ms ?? 0) < (best.dense_ms ?? 0) ? each : best),
    null
  );
}
