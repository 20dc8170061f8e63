/** The next steps: what each is for, and its line to copy, or to insert as a cell where the side panel is there. */
import type { NextStep } from '../report';
import { KEYS, codeLine, element, withCode } from './elements';
import type { Seen } from './reading';
import { text } from './words';

/** Asks the side panel for a cell with the line in `detail` below the one that holds the report; it runs nothing. */
export const INSERT_EVENT = 'hwprune-insert-line';
/** An attribute of the page's body while something answers that. */
export const INSERTS = 'data-hwprune-inserts';
const MOST = 4;
const SAID_MS = 2000;

export function nextSteps(steps: Seen<NextStep>[]): HTMLElement | null {
  const shown = steps.slice(0, MOST).filter(({ line }) => line !== null && line !== '');
  return shown.length === 0 ? null : element('div', { class: 'hwprune-next' }, ...shown.map(step));
}

function step({ what, line }: Seen<NextStep>): HTMLElement {
  const whole = text(line);
  const code = codeLine(whole);
  const copied = button('Copy', whole, async made => {
    await navigator.clipboard.writeText(whole);
    made.textContent = 'Copied';
    setTimeout(() => {
      made.textContent = 'Copy';
    }, SAID_MS);
  });
  const inserted = button('Insert below', whole, made => {
    made.dispatchEvent(new CustomEvent(INSERT_EVENT, { bubbles: true, detail: whole }));
    return Promise.resolve();
  });
  inserted.classList.add('hwprune-insert');
  const head = element('p', {}, element('b', {}, 'Next: '), withCode(text(what)));
  return element('div', {}, head, element('div', { class: 'hwprune-line' }, code, copied, inserted));
}

function button(label: string, line: string, act: (made: HTMLButtonElement) => Promise<void>): HTMLButtonElement {
  const attributes = { type: 'button', 'aria-label': `${label}: ${line}`, ...KEYS };
  const made = element('button', { class: 'hwprune-small', attributes }, label);
  made.addEventListener('click', () => {
    act(made).catch(() => {
      made.textContent = 'Select it to copy'; // a page that is not served securely has no clipboard
    });
  });
  return made;
}
