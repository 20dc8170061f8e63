/** Made from answers.schema.json by `npm run types`: change jupyter_hwprune/notebook/lab.py and progress.py instead. */

/**
 * What a kernel tells the side panel, by subject, and the progress that a run shows.
 */
export interface Answers {
  namespace: Namespace;
  misfits: Misfits;
  choices: Choices;
  machine: Machine;
  listening: Listening;
  progress: Progress;
}
/**
 * What a line can name: models, inputs, and functions that may score a model.
 *
 * `model` and `input` are what `%hwprune` uses if the line names none, or null with the reason. `loaded` says whether `%load_ext` has been run, `torch` whether the user has imported it.
 */
export interface Namespace {
  loaded: boolean;
  torch: boolean;
  models: Model[];
  tensors: Tensor[];
  scores: string[];
  model: string | null;
  no_model: string | null;
  input: string | null;
  no_input: string | null;
}
/**
 * A model; `parameters` is null if lazy ones have no shape yet.
 */
export interface Model {
  name: string;
  kind: string;
  parameters: number | null;
  dtype: string;
  device: string;
}
export interface Tensor {
  name: string;
  shape: number[];
  dtype: string;
}
export interface Misfits {
  models: Misfit[];
}
/**
 * The patterns, of those that the panel offers, which no layer of a model can hold.
 */
export interface Misfit {
  model: string;
  patterns: string[];
}
/**
 * The values that options take: targets and their aliases, patterns, importances, allocations.
 */
export interface Choices {
  targets: TargetOffered[];
  aliases: {
    [k: string]: string;
  };
  patterns: string[];
  channel_importance: string[];
  weight_importance: string[];
  allocations: string[];
}
export interface TargetOffered {
  name: string;
  chip: string;
  judges: JudgeOffered[];
}
/**
 * A toolchain of a target: what it prunes where nothing else is asked for, and the values that --dtype takes.
 */
export interface JudgeOffered {
  toolchain: string;
  pattern: string;
  sparsity: number;
  dtypes: string[];
}
export interface Machine {
  targets: TargetState[];
  parts: Part[];
}
/**
 * The toolchains that measure a target on this machine, and the obstacles of the others.
 */
export interface TargetState {
  name: string;
  usable: string[];
  obstacles: Obstacle[];
}
export interface Obstacle {
  toolchain: string;
  reason: string | null;
  cure: string | null;
}
/**
 * A toolchain, an environment, a meter or a profiler: its state, what was found, and the cure.
 */
export interface Part {
  name: string;
  state: string;
  said: string[];
  cure: string | null;
}
/**
 * The package is installed and answers comms of this target from now on; `subjects` can be asked for.
 */
export interface Listening {
  version: string;
  comm_target: string;
  subjects: string[];
}
/**
 * How far a run is, as data for the lab extension.
 *
 * `phase` is find, prune, export, compile, load, check, profile, measure, or another of the form's own; `step` is the place in STEPS of the furthest one so far, null where there was none of these. `summary` says how the run ended.
 */
export interface Progress {
  state: 'running' | 'done' | 'stopped';
  phase: string;
  detail: string;
  elapsed_s: number;
  summary: string | null;
  step: number | null;
  version: number;
}
