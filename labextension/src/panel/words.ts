/** The panel's sentences about a kernel, targets and a run. */
import type { Choices, Machine, Model, Progress, JudgeOffered, TargetOffered, TargetState, Tensor } from './answers';
import type { Hindrance } from './knowledge';
import { count } from '../view/format';

export interface Message {
  said: string;
  /** A line to run, if one helps. */
  line?: string;
}

export function hindranceWords(hindrance: Hindrance): Message {
  switch (hindrance.why) {
    case 'no notebook':
      return { said: 'Open a notebook: this panel shows the one that you work in.' };
    case 'no kernel':
      return { said: 'This notebook has no kernel. Its reports are shown below; start a kernel to prune.' };
    case 'starting':
      return { said: 'The kernel is starting.' };
    case 'busy':
      return { said: 'The kernel is busy; the panel updates when it is free.' };
    case 'gone':
      return { said: 'The kernel has ended or was restarted.' };
    case 'other language':
      return { said: `%hwprune needs a Python kernel, but this one runs ${hindrance.language}.` };
    case 'missing':
      return {
        said: 'jupyter-hwprune is not installed in this kernel. Run this in a cell:',
        line: '%pip install jupyter-hwprune',
      };
    case 'too old':
      return {
        said: 'This kernel has another version of jupyter-hwprune than this panel. Run this in a cell, then restart the kernel:',
        line: '%pip install --upgrade jupyter-hwprune',
      };
    case 'failed':
      return { said: `The kernel could not answer the panel: ${hindrance.said}` };
  }
}

export function aboutModel(model: Model): string {
  const parameters =
    model.parameters === null ? 'parameters not initialised yet' : `${count(model.parameters)} parameters`;
  const where = model.device === 'cpu' ? '' : `, on ${model.device}`;
  return `${model.kind}, ${parameters}${model.dtype === 'float32' ? '' : `, ${model.dtype}`}${where}`;
}

export function aboutTensor({ name, shape, dtype }: Tensor): string {
  return `${name} (${shape.length === 0 ? 'scalar' : shape.join('×')}, ${dtype})`;
}

/** The target's row, by name or alias. */
export function rowOf(choices: Choices | null, target: string): TargetOffered | null {
  const name = choices?.aliases[target] ?? target;
  return choices?.targets.find(each => each.name === name) ?? null;
}

export function stateOf(machine: Machine | null, row: TargetOffered | null): TargetState | null {
  return machine?.targets.find(each => each.name === row?.name) ?? null;
}

export const ALL = 'all'; // toolchains: each that runs here, and the first of them prunes

/** The toolchain that will be used: the one named, or the first that can measure here; null if not known. */
export function judgeOf(row: TargetOffered | null, state: TargetState | null, toolchain: string): JudgeOffered | null {
  const judges = row?.judges ?? [];
  if (toolchain !== '' && toolchain !== ALL) {
    return judges.find(each => each.toolchain === toolchain) ?? null;
  }
  const usable = judges.find(each => state?.usable.includes(each.toolchain));
  return usable ?? (state === null && judges.length > 1 ? null : (judges[0] ?? null));
}

/** Seconds since the run began; while it goes on, this page's clock counts on from its last progress. */
export function elapsed(progress: Progress, heardAt: number, lives: boolean, now: number): string {
  const since = lives ? Math.max(0, now - heardAt) / 1000 : 0;
  return duration(progress.elapsed_s + since);
}

export function duration(seconds: number): string {
  const whole = Math.floor(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
}

export function when(created: string | null): string {
  const date = new Date(created ?? '');
  return Number.isNaN(date.getTime())
    ? 'date unknown'
    : date.toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'short' });
}
