/** The lines that a report in a notebook may ask to insert: those that this package writes, and no others. */
import { quoted } from '../view/line';
import table from './options.json';

const LONGEST = 2000;
const WORD = /^(?:'[^']*'|"'"|[^\s'"])+$/;
const TAKES: Record<string, boolean> = table.takes;

/** Whether the text is a magic's line as the package writes it, one with a cell to train in, or an export. */
export function isOffered(text: string): boolean {
  const [first = '', ...rest] = text.split('\n');
  if (text.length > LONGEST || /[\r\v\f\x85\u2028\u2029]/.test(text)) {
    return false;
  }
  if (first.startsWith('%%')) {
    const [hint = '', score = ''] = rest;
    const isPlain = /^# train [\p{L}_][\p{L}\p{N}_]* here$/u.test(hint) && /^[\p{L}_][^\n%!?;]*$/u.test(score);
    return rest.length === 2 && isPlain && isMagic(first.slice(1));
  }
  if (rest.length > 0) {
    return false;
  }
  return isMagic(first) || /^run\.export\("[\w-]+"\)$/.test(first) || /^%pip install [A-Za-z][\w.-]*$/.test(first);
}

/** Whether a line is `%hwprune` with words that it knows, each quoted as the panel would. */
function isMagic(line: string): boolean {
  const [magic, ...typed] = split(line);
  if (magic !== '%hwprune' || [magic, ...typed.map(quotedOption)].join(' ') !== line) {
    return false;
  }
  let free = 0;
  for (let at = 0; at < typed.length; at += 1) {
    const [flag = '', ...value] = (typed[at] ?? '').split('=');
    if (!flag.startsWith('-')) {
      free += 1;
    } else if (!Object.hasOwn(TAKES, flag)) {
      return false;
    } else if (TAKES[flag] === true && value.length === 0) {
      at += 1; // its value
    }
  }
  return free <= 2 && (free < 2 || table.subcommands.includes(typed[0] ?? ''));
}

/** Quote a word; of an option with its value only the value. */
function quotedOption(word: string): string {
  const [, flag, value] = /^(--[a-z-]+=)(-[^]*)$/.exec(word) ?? [];
  return flag === undefined || value === undefined ? quoted(word) : flag + quoted(value);
}

/** Split a line into words as a shell does; nothing if its quotes are not those that `quoted` writes. */
function split(line: string): string[] {
  const words = line.match(/(?:'[^']*'|"'"|[^\s'"])+/g) ?? [];
  return words.every(word => WORD.test(word)) ? words.map(word => word.replace(/'([^']*)'|"(')"/g, '$1$2')) : [];
}
