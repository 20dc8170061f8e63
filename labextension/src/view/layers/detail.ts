import type { Layer } from '../../report';
import { element, pairs } from '../elements';
import type { Fact } from '../facts';
import { count, general, removed, share, threeDigits } from '../format';
import { heatmap } from '../heatmap/zoom';
import type { Seen } from '../reading';
import { interval, kernels, shapes, speed, text, times, valid, yesNo } from '../words';

/** All that is known of one layer: its mask large, and every fact. */
export function detail(layer: Seen<Layer>): HTMLElement {
  return element('div', { class: 'hwprune-detail' }, heatmap(layer), pairs(layerFacts(layer)));
}

export function layerFacts(layer: Seen<Layer>): Fact[] {
  const { alone, error, served_by: served, counters, compressed } = layer;
  const rows: Fact[] = [
    ['layer', `${text(layer.name) || 'the model itself'} (${text(layer.kind)})`],
    ['weight', shapes(layer)],
    ['pattern', `${text(layer.pattern)}, ${share(layer.sparsity)} removed`],
    ['MACs', removed(layer.macs, layer.pruned_macs)],
    ['valid', `${valid(layer)} (${share(layer.valid_groups)} of groups hold the pattern)`],
    ['used', yesNo(layer.used)],
    ['faster', withInterval(layer.speed)],
    ['time, µs', times(layer)],
    ['kernel', kernels(layer)],
  ];
  if (alone !== null) {
    rows.push(['alone', `${withInterval(alone)}${layer.rows === null ? '' : ` on ${layer.rows} rows`}`]);
  }
  if (served !== null) {
    rows.push(['served by', served.join(' and ') || 'none']);
  }
  if (counters !== null) {
    const [sparse, dense] = [counters.sparse, counters.dense].map(each => (each === null ? '?' : general(each, 6)));
    rows.push(['counters', `${sparse} sparse and ${dense} dense operations`]);
  }
  if (compressed !== null) {
    rows.push(['compressed', `${count(compressed.dense_bytes)}B → ${count(compressed.compressed_bytes)}B`]);
  }
  if (error !== null) {
    rows.push(['layer error', `${threeDigits(100 * error)} %`]);
  }
  return rows;
}

function withInterval(comparison: Seen<Layer>['speed']): string {
  const spread = interval(comparison);
  return speed(comparison) + (spread === null ? '' : ` (${spread})`);
}
