/** Made from report.schema.json by `npm run types`: change jupyter_hwprune/report.py instead. */

/**
 * The result of a run as frozen data, which the magics, the renderers and the lab extension share.
 *
 * Every number has an `Evidence`; a number that was not measured is `null`, never 0. Names of times end in their unit: `_ms` for a batch through the whole model, `_us` for one layer.
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
  peak_memory: PeakMemory | null;
  blockwise: Blockwise | null;
  corners: Corners | null;
  runtimes: Runtimes | null;
  hotspots: Hotspots | null;
  search: Search | null;
  recovered: Recovered | null;
  trained: TrainedStep[];
  tried: Tried | null;
  identities: string[];
  arrived: Arrived | null;
  mistakes: Mistake[];
  next_steps: NextStep[];
  omitted: string[];
  schema_version: 5;
  words: Words | null;
}
/**
 * The user's request, with every default filled in; `calib` is null if the example was used for calibration.
 *
 * `on_host` is True if the device is the CPU of the compiling machine, so that `threads` applies; `dtype` is the data type of both models, which --dtype chooses where the toolchain `takes_dtype`. The model was pruned in `steps`, each followed by the fine-tune step if it was `trained`, by `recover` steps of training without labels if that is given. `ignore` are the codes of mistakes to leave out. `config` are the parts of the chip's configuration.
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
  takes_dtype: boolean;
  keep_all: boolean;
  keep_statistics: boolean;
  dense: string[];
  permute: boolean;
  config: string[];
  input: string | null;
  calib: string | null;
  recipe: Recipe | null;
  schedule: string;
  steps: number;
  trained: boolean;
  recover: number | null;
  solver: string;
  tune_blocks: number | null;
  tune_kernels: number | null;
  rpc: string | null;
  rpc_key: string | null;
  int8_error: number | null;
  ignore: string[];
}
/**
 * The SparseML recipe that pruned the model: the name used for it, and its text.
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
 * valid: the weights hold the pattern (`valid_groups` is the share of its groups that do); used:  the kernel that ran profits from it: a sparse kernel, or a dense one over fewer channels; speed: the gain of the layer's own kernel, by the same rule as the whole model's verdict. `served_by` are the target's toolchains with a sparse kernel for this layer, null if not checked; `alone` is the gain of the layer timed by itself on an input of `rows` rows, before the whole model was measured; `error` is the squared difference of its output on the calibration inputs, relative to the squared output (about the mean, if the layer has a bias that corrects the mean); `evidence` is the source of its times, kernels and estimate, null if it has none of them; `ran_on` is another processor that ran it than the device asked for; `groups` are those of a grouped convolution. In JSON, a layer leaves out the fields that are unknown.
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
  ran_on?: string | null;
  groups?: number | null;
}
/**
 * A small picture of a keep mask: the density of tiles, and a corner of the mask, both row by row in base64.
 *
 * `tiles` has one byte per tile (255 = all kept); `corner` one bit per weight (1 = kept), each row padded to whole bytes.
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
 * `noise_floor` is the difference between two compilations of the same dense model (0.02 is 2 %). A verdict other than "no measurable gain" needs an interval beyond it.
 */
export interface Comparison {
  speedup: number | null;
  low: number | null;
  high: number | null;
  noise_floor: number | null;
  verdict: 'faster' | 'slower' | 'no measurable gain' | 'not measured';
}
/**
 * The layer's dense arithmetic divided by its time, as a share of the core's peak, if the toolchain reports it.
 *
 * A value far above 1 means that the kernel skipped arithmetic.
 */
export interface Utilization {
  dense: number | null;
  pruned: number | null;
}
/**
 * The size of a weight in torch's own 2:4 compression: the kept values, and two bits of metadata for each.
 */
export interface Compressed {
  dense_bytes: number;
  compressed_bytes: number;
}
/**
 * Hardware counters for the layer's kernels: the operations with the chip's sparsity feature on, and off.
 */
export interface Counters {
  sparse: number;
  dense: number;
}
/**
 * A compiler's cost estimate of one layer, in the unit of the whole model's estimate, and the memory it takes.
 */
export interface LayerEstimate {
  dense: number;
  pruned: number;
  dense_memory?: Memory | null;
  pruned_memory?: Memory | null;
}
/**
 * What a compiled model or layer takes of the chip's memory, in bytes, by its compiler; null: it does not say.
 *
 * `weight_bytes` are its constants as the compiler packs them, in flash or DRAM; `sram_bytes` the most memory on the chip that it holds at a time; `traffic_bytes` what one run moves from and to flash or DRAM.
 */
export interface Memory {
  weight_bytes: number | null;
  sram_bytes: number | null;
  traffic_bytes: number | null;
}
/**
 * A layer with weights that was left dense, with the reason.
 */
export interface Skipped {
  name: string;
  kind: string;
  shape: number[];
  reason: string;
}
/**
 * A pruned layer that gained nothing and got its dense weights back, with the evidence.
 *
 * `rows` is the height of its input matrix (batch times tokens); `speed` is the timing of this layer alone.
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
 * Dense against pruned, interleaved; `control` is the dense model compiled a second time, as `pruned_again` is.
 *
 * `rounds` are those of each process, whose samples stand one after the other; () is one process. `interrupted` is the number of processes that were to confirm the first one's verdict, if the user broke that off. Only accelerators have launches.
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
  pruned_again: Samples | null;
  rounds: number[];
  interrupted: number | null;
  kind: 'timed';
}
/**
 * The source of a number.
 *
 * `measured` names the device it was measured on; `unavailable` gives the reason and the cure. `simulated kernels` ran on the named device, with weights made sparse at random.
 */
export interface Evidence {
  kind: 'measured' | 'simulated kernels' | 'compiler-estimate' | 'compiled' | 'unavailable';
  device: string | null;
  reason: string | null;
  cure: string | null;
}
/**
 * Raw samples, one per round: the mean time of a call in that round's block of calls.
 */
export interface Samples {
  wall_ms: number[];
  cpu_ms: number[];
}
/**
 * How one model's kernels were launched, and the time of a run if Python launches them one by one.
 */
export interface Launch {
  way: string;
  eager_ms: number | null;
}
/**
 * A compiler's own cost estimate of both models, for one batch; it gives no verdict and is never mixed with times.
 *
 * `evidence.device` names the compiler and the chip it compiled for. It is deterministic, so it has no noise floor; `good_to` is the share of a difference up to which its maker says that it cannot tell, null if the maker names none. `clock_mhz` is the clock that cycles are counted at. A model's utilization is the multiplications that it makes, as a share of those that the chip could make in that time; null if the compiler does not say.
 */
export interface Estimated {
  evidence: Evidence;
  unit: 'cycles' | 'ms';
  dense: number;
  pruned: number;
  kind: 'estimated';
  clock_mhz: number | null;
  good_to: number | null;
  dense_utilization: number | null;
  pruned_utilization: number | null;
}
/**
 * Neither timed nor estimated: only compiled, or not even that; the evidence gives the reason.
 */
export interface Untimed {
  evidence: Evidence;
  kind: 'untimed';
}
/**
 * The device's own energy counter over windows of seconds, dense and pruned in turn.
 */
export interface Energy {
  evidence: Evidence;
  idle_mw: number | null;
  dense: EnergyOf | null;
  pruned: EnergyOf | null;
}
/**
 * One model's energy per run (a whole batch), in total and above idle, and its average power.
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
 * The largest difference from the reference's outputs, relative to their largest magnitude.
 */
export interface OutputCheck {
  dense_error: number;
  pruned_error: number;
  tolerance: number;
  reference: string;
}
/**
 * The user's score of the dense and of the pruned model, higher is better.
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
 * Hashes of the dense and the pruned weights, to match reports of the same pruning from two machines.
 */
export interface Fingerprints {
  dense: string;
  pruned: string;
}
/**
 * The dense model with another of the target's toolchains, which a pruned model in a special runtime has to beat.
 *
 * It ran in separate processes `before` and `after` the candidates, on the same clock. `speed` compares the pruned model with it; its noise floor is the difference between the two times.
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
 * The result of a scan: `passes` passes over `rows` rows of the calibration data (null: scored by the user).
 */
export interface Sensitivity {
  measure: 'output error' | 'score';
  curves: Curve[];
  rows: number | null;
  passes: number;
}
/**
 * One layer's points, by rising sparsity; weights are removed in groups of `group` (a block, a channel).
 */
export interface Curve {
  layer: string;
  weights: number;
  points: Point[];
  group: number;
}
/**
 * The error of the model after removing the share `sparsity` of one layer alone.
 *
 * `error`: the mean squared difference of the outputs over their mean square, or the dense score minus the score; null if an output or the score was not finite.
 */
export interface Point {
  sparsity: number;
  error: number | null;
}
/**
 * The sizes of the compiled models' files, in bytes, and what they take of the chip's memory by the compiler.
 */
export interface Footprint {
  dense_bytes: number;
  pruned_bytes: number;
  dense?: Memory | null;
  pruned?: Memory | null;
}
/**
 * The measured peak memory of a process that runs each model's file by the exported script, above its libraries.
 *
 * The numbers come from the system's own counter of the process.
 */
export interface PeakMemory {
  dense_bytes: number;
  pruned_bytes: number;
}
/**
 * The blocks in the order in which they run, and the folder written: its weights' `bytes` in so many `files`.
 *
 * `tokens` are those of the calibration inputs, 0 without. `taken_up` is the number of blocks that an earlier run had done.
 */
export interface Blockwise {
  source: string;
  out: string;
  bytes: number;
  files: number;
  tokens: number;
  blocks: PrunedBlock[];
  taken_up: number;
}
/**
 * One block: its `weights`, and those that are `left` (not zero, or zero before).
 *
 * `error` is the squared difference of its output from the dense model's on the calibration inputs, relative to the dense model's: all blocks before it are pruned too. `peak_bytes` is the most that the process took while the block was pruned and written, above what it held before the first block. Each is null where it was not measured.
 */
export interface PrunedBlock {
  name: string;
  weights: number;
  left: number;
  error: number | null;
  seconds: number;
  peak_bytes: number | null;
}
/**
 * The four models, compiled and timed in turn in one process; no `rows` if there are no int8 models.
 *
 * `rows` are dense and pruned in float, then in int8. `on_int8` compares pruned int8 with dense int8, and `on_pruned` with pruned float. `quantiser` is the library with its settings, and `calibration_rows` the rows that it recorded ranges from. `fast_int8` are the CPU's instructions for int8 products, null if unknown. `unscored` is the reason why the int8 models have no score, if there is one in float.
 */
export interface Corners {
  evidence: Evidence;
  rows: Corner[];
  on_int8: Comparison;
  on_pruned: Comparison;
  quantiser: string | null;
  calibration_rows: number;
  left_in_float: LeftInFloat[];
  fast_int8: string[] | null;
  unscored: string | null;
}
/**
 * One of the four models: `ms` is its median time, and `speed` compares it with the dense model in float.
 *
 * The samples of the float models are in the report's measurement. `file_bytes` is the size of the compiled model's files, `peak_bytes` its peak memory as in PeakMemory, `error` its largest difference from torch's outputs in float, relative to their largest magnitude. `score` is the user's: of an int8 model by running the compiled model itself.
 */
export interface Corner {
  pruned: boolean;
  dtype: string;
  ms: number;
  speed: Comparison;
  file_bytes: number | null;
  error: number | null;
  score: number | null;
  samples: Samples | null;
  int8_layers: number | null;
  peak_bytes: number | null;
}
/**
 * A layer that an int8 model computes in float, with the reason: its weights stay so, or the runtime's kernel.
 */
export interface LeftInFloat {
  layer: string;
  reason: string;
}
/**
 * All runtimes, the report's own toolchain first; `speed` is the fastest pruned against the fastest dense model.
 *
 * The noise floor of two runtimes is how much the processes of one of them differ.
 */
export interface Runtimes {
  rows: Runtime[];
  speed: Comparison;
  left_out: LeftOut[];
}
/**
 * Dense and pruned in one runtime. Both are in each of its processes, which ran in turn with the other runtimes'.
 *
 * `alone` is the gain of the runtime itself: its dense model against that of the report's own toolchain. `pruning` is the gain of pruning on top of it: pruned against dense in this runtime. `error` is the largest difference of the pruned model's outputs from torch's, relative to the largest value. `timed` holds the samples, null for the report's own toolchain, whose samples are the report's measurement.
 */
export interface Runtime {
  toolchain: string;
  version: string | null;
  dense_ms: number;
  pruned_ms: number;
  pruning: Comparison;
  alone: Comparison;
  error: number | null;
  timed: Timed | null;
}
/**
 * A toolchain of the target that was not timed, with the reason and the cure.
 */
export interface LeftOut {
  toolchain: string;
  reason: string;
  cure: string | null;
}
/**
 * The functions of both models, the longest first; no `rows` if they could not be sampled.
 */
export interface Hotspots {
  evidence: Evidence;
  rows: Hotspot[];
}
/**
 * A function, and its CPU time in a run of each model; null where no sample fell into it.
 *
 * `module` is the file that holds it, or the vendor's word for code that a runtime compiled.
 */
export interface Hotspot {
  function: string;
  module: string;
  dense_ms: number | null;
  pruned_ms: number | null;
}
/**
 * A search for the plan that loses least within the goal.
 *
 * `points` are in the order of measuring, in `unit`. `stopped_by` names the limit that no plan met, null if the chosen one met all. `rounds` were compiled and measured after the table's copies, of which `remembered` were found on disk. `dense_score` is that of the dense model. `remarks` say why no plan comes nearer to the goal.
 */
export interface Search {
  goal: Goal;
  unit: string;
  points: SearchPoint[];
  stopped_by: ('time' | 'energy' | 'power' | 'size' | 'score') | null;
  rounds: number;
  remembered: number;
  seconds: number;
  dense_score: number | null;
  remarks: string[];
}
/**
 * The limits that the pruned model has to meet, null for no limit: latency, energy and power are those of a batch.
 *
 * `speedup` is over the dense model of the same toolchain, `size_mb` that of the compiled files in units of a million bytes, and `max_drop` the dense model's score minus the pruned one's. Raises InputError for values that no model can reach.
 */
export interface Goal {
  latency_ms: number | null;
  speedup: number | null;
  energy_mj: number | null;
  power_mw: number | null;
  size_mb: number | null;
  max_drop: number | null;
}
/**
 * One plan that was measured.
 *
 * `share` is the average share of channels, blocks or weights removed, `kept` the share of all weights that stays. `time` and `dense_time` are in the unit of the search, of one interleaved call; `predicted` is the table's prediction. `score` is the user's, null if it was not taken: without training, but for the chosen plan.
 */
export interface SearchPoint {
  name: string;
  share: number;
  kept: number;
  time: number;
  dense_time: number;
  predicted: number | null;
  size_bytes: number | null;
  energy_mj: number | null;
  score: number | null;
  int8: boolean;
  chosen: boolean;
}
/**
 * Training the pruned copy to reproduce the dense model's outputs on the calibration inputs, in its last step.
 *
 * The losses are those of the copy before and after on the first calibration inputs, and 0 for the dense model. `score_before` is the user's score of the pruned copy before it, null without one. `kept` is False if the loss did not fall, so that the weights stayed as they were.
 */
export interface Recovered {
  steps: number;
  rows: number;
  first_loss: number;
  last_loss: number;
  seconds: number;
  score_before: number | null;
  kept: boolean;
}
/**
 * One pruning step and the training after it.
 *
 * `share` of the dense model was gone, `seconds` were spent in the training, and `score` is the user's after it, null without one.
 */
export interface TrainedStep {
  share: number;
  seconds: number;
  score: number | null;
}
/**
 * What the whole model gains if `layers` stay dense, timed in turn with the model of the report.
 *
 * `without` compares dense with the report's model in that call, `speed` with the other one; `gain` is how many times faster the other one is than the report's.
 */
export interface Tried {
  layers: string[];
  without: Comparison;
  speed: Comparison;
  gain: Comparison;
}
/**
 * What the user's model came with: weights that masks multiply before each pass, and `across`.
 *
 * The masks are those of torch.nn.utils.prune, or `parametrized`, as torch.ao.pruning's. `across` are layers whose zeros are 2:4 along their outputs and not along their inputs, where kernels look for them.
 */
export interface Arrived {
  masked: string[];
  parametrized: string[];
  across: string[];
}
/**
 * A mistake under its stable code: `what` was found and in which `layers`, `why` it costs, and the `fix`.
 *
 * An "error" makes the pruning useless on this chip, a "warning" takes part of the gain, a "note" limits what the report shows. `line` is one to copy, if there is one.
 */
export interface Mistake {
  code: string;
  title: string;
  severity: 'error' | 'warning' | 'note';
  what: string;
  why: string;
  fix: string;
  layers: string[];
  line: string | null;
}
/**
 * `what` it is for, and the `line` to run: a magic's, whole with its cell, or Python on the kept `run`.
 */
export interface NextStep {
  what: string;
  line: string;
}
/**
 * All the wording of a report, except its own texts.
 *
 * `badge` is the kind of headline; `interval` is shown next to a verdict. `columns` describe the layers, and `notes` explain that table. `corners` compares dense and pruned, in float and in int8, if there are int8 models, `runtimes` in each runtime, if all were asked for; `search` lists the plans that a search has measured, `training` the steps of a training.
 */
export interface Words {
  title: string;
  headline: string;
  badge: 'faster' | 'faster at a cost' | 'slower' | 'no measurable gain' | 'not measured' | 'estimated' | 'compiled';
  interval: string | null;
  facts: Fact[];
  columns: Column[];
  notes: string[];
  returned: string[];
  left_dense: string[];
  corners: Table | null;
  runtimes: Table | null;
  search: Table | null;
  training: Table | null;
}
/**
 * A named fact; `evidence` is True if it supports the headline, else it tells what the model kept and lost.
 */
export interface Fact {
  name: string;
  said: string;
  evidence: boolean;
}
/**
 * One column of the layer table: a cell for each of the report's layers in order; "" is an empty cell.
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
    | 'memory'
    | 'alone'
    | 'served'
    | 'counters'
    | 'compressed'
    | 'error';
  name: string;
  cells: string[];
}
/**
 * The heads of the columns, and a row of as many cells for each model.
 */
export interface Table {
  head: string[];
  rows: string[][];
}
