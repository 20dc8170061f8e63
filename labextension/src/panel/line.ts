/** The `%hwprune` line for the form: only what differs from the defaults, in the order of `%hwprune?`. */
import { quoted } from '../view/line';
import table from './options.json';

/** The form's fields as text. */
export type Asked = typeof table.defaults;

/** The magic's defaults; '' if the default depends on the target, or there is none. */
export const DEFAULTS: Asked = table.defaults;

export const LABELS = table.labels;

export function magicLine(asked: Asked): string {
  return written(asked, ['%hwprune'], Object.keys(table.flags));
}

/** The line that says, before any training, what each pattern would gain for this model on this chip. */
export function adviceLine(asked: Asked): string {
  return written(asked, ['%hwprune', 'advise'], table.advised);
}

function written(asked: Asked, first: string[], options: readonly string[]): string {
  const model = oneLine(asked.model);
  const words = model === '' ? [] : [quoted(isOtherwiseRead(model) ? `(${model})` : model)];
  for (const [name, flag] of Object.entries(table.flags)) {
    const value = options.includes(name) ? oneLine(asked[name as keyof typeof table.flags]) : '';
    if (value !== '' && value !== DEFAULTS[name as keyof typeof table.flags]) {
      words.push(...option(flag, value));
    }
  }
  return [...first, ...words].join(' ');
}

/** Put a model in brackets if the magic would take it for a subcommand or an option. */
function isOtherwiseRead(model: string): boolean {
  return table.subcommands.includes(model) || model.startsWith('-');
}

/** Join a value that begins with a dash to its option, or the magic would take it for another option. */
function option(flag: string, value: string): string[] {
  return value.startsWith('-') ? [`${flag}=${quoted(value)}`] : [flag, quoted(value)];
}

/** Put a value on one line: a line magic ends at the first line break. */
function oneLine(value: string): string {
  return value.trim().replace(/\s*[\n\r\v\f\x85\u2028\u2029]+\s*/g, ' ');
}

const WORDS =
  /^(False|None|True|and|as|assert|async|await|break|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|in|is|lambda|nonlocal|not|or|pass|raise|return|try|while|with|yield)$/;

/** What the magic would refuse, by field; the form shows it before the cell is inserted. */
export function faults(asked: Asked): Partial<Record<keyof Asked, string>> {
  const found: Partial<Record<keyof Asked, string>> = {};
  const { pattern, sparsity, speedup, latency_ms: latency, max_drop: drop, recover, threads, variable } = asked;
  if (pattern.trim() !== '' && !isPattern(pattern.trim())) {
    found.pattern = `Write one of these: ${table.notations}.`;
  }
  if (sparsity.trim() !== '' && !(Number(sparsity) > 0 && Number(sparsity) < 1)) {
    found.sparsity = 'Write a share above 0 and below 1, such as 0.5.';
  }
  if (speedup.trim() !== '' && !(Number(speedup) > 1)) {
    found.speedup = 'Write a number above 1, such as 2.';
  }
  if (latency.trim() !== '' && !(Number(latency) > 0)) {
    found.latency_ms = 'Write a number of milliseconds above 0.';
  }
  if (drop.trim() !== '' && !(Number(drop) >= 0)) {
    found.max_drop = 'Write a number of at least 0, such as 0.01.';
  } else if (drop.trim() !== '' && asked.eval.trim() === '') {
    found.max_drop = 'Give a score; this is how far it may fall.';
  }
  if (hasGoal(asked) && sparsity.trim() !== '') {
    found.sparsity = 'Leave this empty: the search for the goal finds it.';
  }
  if (recover.trim() !== '' && !/^[1-9]\d*$/.test(recover.trim())) {
    found.recover = 'Write a whole number of steps, such as 200.';
  } else if (recover.trim() !== '' && asked.calib.trim() === '') {
    found.recover = 'Give calibration inputs to train on.';
  }
  if (threads.trim() !== '' && !/^[1-9]\d*$/.test(threads.trim())) {
    found.threads = 'Write a whole number, at least 1.';
  }
  if (variable.trim() !== '' && (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(variable.trim()) || WORDS.test(variable.trim()))) {
    found.variable = 'This is not a valid variable name.';
  }
  return found;
}

/** Whether the line searches for a goal. */
export function hasGoal({ speedup, latency_ms: latency, max_drop: drop }: Asked): boolean {
  return [speedup, latency, drop].some(each => each.trim() !== '');
}

function isPattern(text: string): boolean {
  const group = /^([1-9]\d*):([1-9]\d*)$/.exec(text);
  if (group !== null) {
    return Number(group[1]) < Number(group[2]);
  }
  return /^(unstructured|depth|(depth\+)?channel(\/[1-9]\d*)?|[1-9]\d*x[1-9]\d*(\/even)?)$/.test(text);
}

/** The share that n:m removes, or null for a pattern that does not fix it. */
export function fixedSparsity(pattern: string): number | null {
  const [kept, of] = pattern.trim().split(':').map(Number);
  return isPattern(pattern.trim()) && kept !== undefined && of !== undefined ? 1 - kept / of : null;
}
