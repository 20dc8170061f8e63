import type { Request } from '../report';
import { general } from './format';
import type { Seen } from './reading';

/** The line that asks for this very run again, on a machine that can measure it (words.line in Python). */
export function againLine(request: Seen<Request>): string {
  const { recipe, schedule, importance, allocation } = request;
  const trained = schedule !== null && schedule !== 'one-shot';
  const options: [string, string | null][] = [
    ['input', request.input],
    ['target', `${request.target ?? ''}:${request.toolchain ?? ''}`],
    ['recipe', recipe?.name ?? null],
    ['calib', request.calib],
    ['pattern', recipe === null ? request.pattern : null],
    ['sparsity', recipe === null && request.sparsity !== null ? general(request.sparsity, 6) : null],
    ['dtype', request.dtype],
    ['importance', importance === 'magnitude' || importance === 'recipe' ? null : importance],
    ['schedule', trained ? schedule : null],
    ['steps', trained ? String(request.steps) : null],
    ['allocation', allocation === 'uniform' || recipe !== null ? null : allocation],
    ['batch', request.batch === null ? null : String(request.batch)],
  ];
  const given = options.flatMap(([name, value]) => (value ? [`--${name} ${quoted(value)}`] : []));
  const dense = request.dense.map(name => ` --dense ${quoted(name)}`).join('');
  const flags = `${request.permute ? ' --permute' : ''}${request.keep_all ? ' --keep-all' : ''}`;
  return `${trained ? '%' : ''}%hwprune ${quoted(request.model ?? '')} ${given.join(' ')}${dense}${flags} -o run`;
}

/** As a shell would need it (Python's shlex.quote). */
export function quoted(value: string): string {
  return value !== '' && !/[^\w@%+=:,./-]/.test(value) ? value : `'${value.replaceAll("'", `'"'"'`)}'`;
}
