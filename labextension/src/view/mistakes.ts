import type { Mistake } from '../report';
import { codeLine, element, section, withCode } from './elements';
import type { Seen } from './reading';
import { text } from './words';

const MOST = 50;

/** The named mistakes: what was found, why it costs, how to fix it, and a line to copy where there is one. */
export function mistakes(found: Seen<Mistake>[]): HTMLElement | null {
  if (found.length === 0) {
    return null;
  }
  return section('Mistakes', element('ul', { class: 'hwprune-mistakes' }, ...found.slice(0, MOST).map(mistake)));
}

function mistake(found: Seen<Mistake>): HTMLElement {
  const severity = text(found.severity);
  return element(
    'li',
    { attributes: { 'data-severity': severity } },
    element('b', {}, `${text(found.code)} ${text(found.title)}`),
    ` (${severity}). `,
    withCode([found.what, found.why, found.fix].map(text).join(' ')),
    found.line === null ? null : codeLine(found.line)
  );
}
