/** Made from answers.schema.json by `npm run types`: change jupyter_hwprune/notebook/lab.py and progress.py instead. */

/**
 * What a kernel tells the side panel, by subject, and the progress that a run shows.
 */
export interface Answers {
  namespace: Namespace;
  choices: Choices;
  machine: Machine;
  listening: Listening;
  progress: Progress;
}
/**
 * What a line could name: models, inputs, and functions of a model that may be a score.
 *
 * `model` and `input` are what `%hwprune` takes where the line names none, or null with the reason. `loaded` is whether `%load_ext` has been run, `torch` whether the user has imported it.
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
 * `parameters` is null where lazy ones have no shape yet.
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
/**
 * What the options take: the rows of the matrix, and what can be ranked by where channels go, or weights.
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
  stacks: StackOffered[];
}
export interface StackOffered {
  toolchain: string;
  pattern: string;
  sparsity: number;
}
export interface Machine {
  targets: TargetState[];
  parts: Part[];
}
/**
 * Which toolchains measure a target on this machine, and what hinders the others.
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
 * A toolchain, an environment or a meter: how it stands, what it says of itself, and what helps.
 */
export interface Part {
  name: string;
  state: string;
  said: string[];
  cure: string | null;
}
/**
 * The package is here, and answers comms of that target from now on; `subjects` are what it can be asked.
 */
export interface Listening {
  version: string;
  comm_target: string;
  subjects: string[];
}
/**
 * How far a run is, as the lab extension reads it beside the line.
 *
 * `phase` is one of prune, export, compile, check, profile, measure, or a form's own; `summary` is how it ended.
 */
export interface Progress {
  state: 'running' | 'done' | 'stopped';
  phase: string;
  detail: string;
  elapsed_s: number;
  summary: string | null;
  version: number;
}
