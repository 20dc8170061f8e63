/** Made from report.schema.json by `npm run types`: change jupyter_hwprune/report.py instead. */

/**
 * What a run found, as frozen data: the one thing that the magics, the renderers and the lab extension share.
 *
 * Every number rests on an `Evidence`; a number that was not measured is `null`, never 0. Times carry their unit in their name: `_ms` for a whole batch through the model, `_us` for one layer of it.
 */
export interface Report {
  created: string;
  request: Request;
  chip: string;
  typical_speedup: string | null;
  totals: Totals;
  layers: Layer[];
  skipped: Skipped[];
  returned: Returned[];
  other_kernels: OtherKernels | null;
  measurement: Timed | Estimated | Untimed;
  energy: Energy | null;
  counters: Evidence | null;
  check: OutputCheck | null;
  scores: Scores | null;
  reasons: string[];
  machine: Machine | null;
  versions: {
    [k: string]: string;
  };
  fingerprints: Fingerprints;
  baselines: Baseline[];
  sensitivity: Sensitivity | null;
  footprint: Footprint | null;
  omitted: string[];
  schema_version: 5;
  words: Words | null;
}
/**
 * What was asked for, with every default filled in; `calib` null where the example itself was looked at.
 *
 * `on_host` is whether the device is the CPU of the machine that compiles, whose threads then count; `dtype` is what both models run in. It was pruned in `steps`, after each of which a fine-tune step ran where there was one.
 */
export interface Request {
  model: string;
  target: string;
  toolchain: string;
  device: string;
  dtype: string;
  pattern: string;
  sparsity: number;
  importance: string;
  allocation: string;
  threads: number;
  batch: number;
  on_host: boolean;
  keep_all: boolean;
  dense: string[];
  permute: boolean;
  input: string | null;
  calib: string | null;
  recipe: Recipe | null;
  schedule: string;
  steps: number;
}
/**
 * The SparseML recipe that pruned the model: what it was called there, and its text.
 */
export interface Recipe {
  name: string;
  text: string;
}
export interface Totals {
  weights: number;
  pruned_weights: number;
  macs: number | null;
  pruned_macs: number | null;
}
/**
 * One pruned layer. `valid`, `used` and `faster` are three separate facts, and each may be unknown (null).
 *
 * valid: the weights hold the pattern (`valid_groups` is the share of its groups that do); used:  a kernel ran that profits from it: a sparse kernel, or a dense one over fewer channels; speed: what the layer's own kernel gained, by the same rule as the whole model's verdict. `served_by` are the target's toolchains that have a kernel for the pattern in this layer, where that was asked; `alone` is what the layer gained by itself on its own input of `rows` rows, before it was let into the model; `error` is what its output lost on the calibration inputs, the squared difference relative to the squared output (about its mean, where the layer has a bias that makes up for that); `evidence` is what its times, kernels and estimate rest on, null where it has none of them. In JSON a layer has no field for what is not known of it.
 */
export interface Layer {
  name: string;
  kind: string;
  shape: number[];
  pruned_shape: number[];
  pattern: string;
  sparsity: number;
  macs: number | null;
  pruned_macs: number | null;
  valid: boolean;
  valid_groups: number;
  picture: Picture | null;
  used?: boolean | null;
  speed?: Comparison;
  kernel?: string | null;
  pruned_kernel?: string | null;
  dense_us?: number | null;
  pruned_us?: number | null;
  served_by?: string[] | null;
  rows?: number | null;
  alone?: Comparison | null;
  utilization?: Utilization | null;
  compressed?: Compressed | null;
  counters?: Counters | null;
  error?: number | null;
  evidence?: ('measured' | 'simulated kernels' | 'compiler-estimate' | 'compiled' | 'unavailable') | null;
  estimate?: LayerEstimate | null;
}
/**
 * A keep mask, small: the density of tiles and a corner of the mask itself, both row by row in base64.
 *
 * `tiles` holds a byte a tile (255 = all kept); `corner` a bit a weight (1 = kept), each row padded to whole bytes.
 */
export interface Picture {
  rows: number;
  columns: number;
  tile_rows: number;
  tile_columns: number;
  tiles: string;
  corner_rows: number;
  corner_columns: number;
  corner: string;
}
/**
 * How many times faster the pruned side is, with the bootstrap 95 % interval.
 *
 * `noise_floor` is how far the same dense model, compiled a second time, came out from itself (0.02 is 2 %): a verdict other than "no measurable gain" needs an interval that clears it.
 */
export interface Comparison {
  speedup: number | null;
  low: number | null;
  high: number | null;
  noise_floor: number | null;
  verdict: 'faster' | 'slower' | 'no measurable gain' | 'not measured';
}
/**
 * The layer's dense arithmetic by the time it took, as a share of the core's peak, where a toolchain tells.
 *
 * What is far above 1 left arithmetic out.
 */
export interface Utilization {
  dense: number | null;
  pruned: number | null;
}
/**
 * What torch's own 2:4 compression of a weight takes: the values kept, and two bits of metadata for each.
 */
export interface Compressed {
  dense_bytes: number;
  compressed_bytes: number;
}
/**
 * A profiler's hardware counters for the layer's kernels: operations with the chip's sparsity on, and off.
 */
export interface Counters {
  sparse: number;
  dense: number;
}
/**
 * What a compiler's cost model says of one layer, in the unit of the whole model's estimate.
 */
export interface LayerEstimate {
  dense: number;
  pruned: number;
}
/**
 * A layer with weights that was left dense, and why.
 */
export interface Skipped {
  name: string;
  kind: string;
  shape: number[];
  reason: string;
}
/**
 * A layer that was pruned, gained nothing by it, and has its dense weights again; with the evidence for that.
 *
 * `rows` is the height of the matrix that it multiplied (batch times tokens), `speed` of that layer alone.
 */
export interface Returned {
  name: string;
  kind: string;
  shape: number[];
  reason: string;
  rows: number | null;
  speed: Comparison;
}
/**
 * The profiled time of all kernels that belong to no pruned layer.
 */
export interface OtherKernels {
  dense_us: number | null;
  pruned_us: number | null;
}
/**
 * Dense against pruned, interleaved in one process; `control` is the dense model compiled a second time.
 *
 * The launches are those of an accelerator; a CPU's toolchain has none to tell of.
 */
export interface Timed {
  evidence: Evidence;
  clock: 'cpu' | 'wall';
  dense: Samples;
  control: Samples;
  pruned: Samples;
  dense_ms: number;
  pruned_ms: number;
  comparison: Comparison;
  dense_launch: Launch | null;
  pruned_launch: Launch | null;
  kind: 'timed';
}
/**
 * What a number rests on.
 *
 * `measured` names the device it was measured on, `unavailable` says why and what would cure it. `simulated kernels` really ran on the device it names, on weights that somebody made sparse at random.
 */
export interface Evidence {
  kind: 'measured' | 'simulated kernels' | 'compiler-estimate' | 'compiled' | 'unavailable';
  device: string | null;
  reason: string | null;
  cure: string | null;
}
/**
 * Raw samples, one a round, each the mean time of one call in that round's block of calls.
 */
export interface Samples {
  wall_ms: number[];
  cpu_ms: number[];
}
/**
 * How one model's kernels were started, and what a run takes where Python starts them one by one.
 */
export interface Launch {
  way: string;
  eager_ms: number | null;
}
/**
 * What a compiler's own cost model says of both models, for one batch: never a verdict, never beside a time.
 *
 * `evidence.device` names the compiler and the chip that it compiled for.
 */
export interface Estimated {
  evidence: Evidence;
  unit: 'cycles' | 'ms';
  dense: number;
  pruned: number;
  kind: 'estimated';
}
/**
 * Neither timed nor estimated: compiled only, or not even that, for the reason that the evidence gives.
 */
export interface Untimed {
  evidence: Evidence;
  kind: 'untimed';
}
/**
 * What the device's own energy counter said, over windows of seconds, dense and pruned in turn.
 */
export interface Energy {
  evidence: Evidence;
  idle_mw: number | null;
  dense: EnergyOf | null;
  pruned: EnergyOf | null;
}
/**
 * One model's energy: of one run (a whole batch), in all and above the idle device, and the mean power.
 */
export interface EnergyOf {
  total_mj: number;
  above_idle_mj: number;
  average_mw: number;
  windows_mj: number[];
  window_s: number;
  runs: number;
}
/**
 * The largest difference to the outputs of the reference, relative to their largest magnitude.
 */
export interface OutputCheck {
  dense_error: number;
  pruned_error: number;
  tolerance: number;
  reference: string;
}
/**
 * The user's own score of the dense and of the pruned model, higher is better.
 */
export interface Scores {
  expression: string;
  dense: number;
  pruned: number;
}
export interface Machine {
  cpu: string;
  architecture: string;
  cores: number;
  system: string;
  load_1min: number | null;
}
/**
 * Which weights went in and which came out, so that reports of one pruning on two machines can be told.
 */
export interface Fingerprints {
  dense: string;
  pruned: string;
}
/**
 * The dense model with another of the target's toolchains: what a pruned model has to beat that needs its own.
 *
 * It ran in processes of its own before and after the others, on the same clock; `speed` is the pruned model's against it, and its noise floor is what those two times differed by.
 */
export interface Baseline {
  toolchain: string;
  evidence: Evidence;
  before: Samples | null;
  after: Samples | null;
  dense_ms: number | null;
  speed: Comparison;
}
/**
 * What a scan found with `passes` passes over `rows` rows of the calibration data (null: with a score).
 */
export interface Sensitivity {
  measure: 'output error' | 'score';
  curves: Curve[];
  rows: number | null;
  passes: number;
}
/**
 * One layer's points, by rising sparsity; its weights go in groups of `group` (a block, a channel).
 */
export interface Curve {
  layer: string;
  weights: number;
  points: Point[];
  group: number;
}
/**
 * What removing the share `sparsity` of one layer alone does to the model.
 *
 * `error`: mean squared difference of the outputs over their mean square, or the dense score minus the score; null where an output or the score was not finite.
 */
export interface Point {
  sparsity: number;
  error: number | null;
}
/**
 * What the compiled models take, in bytes, as their compiler wrote them.
 */
export interface Footprint {
  dense_bytes: number;
  pruned_bytes: number;
}
/**
 * All that a report says beside its own texts.
 *
 * `badge` is the kind of the headline; `interval` stands beside a verdict. `columns` are what is said of the layers, and `notes` what a reader of that table has to know.
 */
export interface Words {
  title: string;
  headline: string;
  badge: 'faster' | 'slower' | 'no measurable gain' | 'not measured' | 'estimated' | 'compiled';
  interval: string | null;
  facts: Fact[];
  columns: Column[];
  notes: string[];
  returned: string[];
  left_dense: string[];
}
/**
 * What is said under a name; `evidence` is what the headline rests on, all else what the model kept and lost.
 */
export interface Fact {
  name: string;
  said: string;
  evidence: boolean;
}
/**
 * What is said of each layer under one head, in the order of the report's layers; "" is nothing to say.
 */
export interface Column {
  key:
    | 'weight'
    | 'removed'
    | 'macs'
    | 'time'
    | 'valid'
    | 'used'
    | 'faster'
    | 'kernel'
    | 'alone'
    | 'served'
    | 'counters'
    | 'compressed'
    | 'error';
  name: string;
  cells: string[];
}
