import type { Progress } from '../panel/answers';
import schema from '../panel/answers.schema.json';
import table from '../panel/options.json';
import { fixed } from '../view/format';
import { Reader, type Seen } from '../view/reading';

/** The phases of a run in order; some have another name if a run does something else in their place. */
const PHASES = table.steps;

export interface Step {
  name: string;
  state: 'past' | 'now' | 'to come';
}

export function readProgress(data: unknown): Seen<Progress> {
  return new Reader(schema.$defs, false).take(schema.$defs.Progress, data, '') as Seen<Progress>;
}

/** The steps of the run, which never go back; an unknown phase is shown alone where there was no other. */
export function steps({ phase, step }: Seen<Progress>): Step[] {
  const now = step ?? PHASES.findIndex(names => phase !== null && names.includes(phase));
  if (now < 0) {
    return phase ? [{ name: phase, state: 'now' }] : [];
  }
  return PHASES.map((names, index) => {
    const name = (index === now && phase !== null && names.includes(phase) ? phase : names[0]) ?? '';
    return { name, state: index < now ? 'past' : index === now ? 'now' : 'to come' };
  });
}

/** The line that stays when a run has ended, as the Python side prints it in a terminal. */
export function lastWords({ state, summary, phase, elapsed_s }: Seen<Progress>): string {
  if (state === null) {
    return 'hwprune: this progress cannot be read';
  }
  const took = elapsed(elapsed_s);
  const said = summary ?? (state === 'stopped' ? `stopped in phase ${phase ?? 'unknown'}` : 'done');
  return `hwprune: ${said}${took === '' ? '' : state === 'stopped' ? ` after ${took}` : ` (${took})`}`;
}

export function elapsed(seconds: number | null): string {
  return seconds === null ? '' : `${fixed(seconds, 0)} s`;
}
