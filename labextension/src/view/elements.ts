/** Elements without markup: whatever comes from a report enters the page as text. */

type Child = Node | string | null;
interface Options {
  class?: string;
  attributes?: Record<string, string>;
}

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  options: Options,
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  return filled(document.createElement(tag), options, children);
}

export function drawing<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string | number>,
  ...children: Child[]
): SVGElementTagNameMap[Tag] {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  const texts = Object.entries(attributes).map(([name, value]) => [name, String(value)]);
  return filled(made, { attributes: Object.fromEntries(texts) as Record<string, string> }, children);
}

function filled<Made extends Element>(made: Made, options: Options, children: Child[]): Made {
  if (options.class !== undefined) {
    made.setAttribute('class', options.class);
  }
  for (const [name, value] of Object.entries(options.attributes ?? {})) {
    made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null));
  return made;
}

/** Words with what stands between backticks set as code. */
export function withCode(said: string): DocumentFragment {
  const parts = said.split('`');
  const isPaired = parts.length % 2 === 1;
  const fragment = document.createDocumentFragment();
  fragment.append(...(isPaired ? parts.map((part, at) => (at % 2 === 1 ? element('code', {}, part) : part)) : [said]));
  return fragment;
}

/** A line of code that breaks at its spaces alone: a browser also breaks after the dashes of an option. */
export function codeLine(said: string): HTMLElement {
  const words = said.split(/(\s+)/);
  const parts = words.map((word, at) => (at % 2 === 1 || word === '' ? word : element('span', {}, word)));
  return element('pre', { class: 'hwprune-code' }, ...parts);
}

/** A part of the report under a heading of its own. */
export function section(heading: string, ...children: Child[]): HTMLElement {
  return element('section', { class: 'hwprune-section' }, element('h4', {}, heading), ...children);
}

/** What is there for those who want it. */
export function folded(summary: string, ...children: Child[]): HTMLDetailsElement {
  return element('details', { class: 'hwprune-folded' }, element('summary', {}, summary), ...children);
}

/** Names and what is said of them, side by side. */
export function pairs(rows: readonly (readonly [string, Child])[], name = 'hwprune-pairs'): HTMLElement {
  const cells = rows.flatMap(([about, said]) => [element('dt', {}, about), element('dd', {}, said)]);
  return element('dl', { class: name }, ...cells);
}

/** What the keys do is for the control that they are pressed in, and not for the notebook about it. */
export const KEYS = { 'data-lm-suppress-shortcuts': 'true' };

let made = 0;

/** An id that no other element of the page has. */
export function freshId(about: string): string {
  made += 1;
  return `hwprune-${about}-${made}`;
}
