import type { Report } from '../report';
import { deciding } from './deciding';
import { element, folded, pairs, section, withCode } from './elements';
import { counted } from './format';
import { layers } from './layers/section';
import { mistakes } from './mistakes';
import { sideBySide } from './models';
import { nextSteps } from './next';
import type { Reading, Seen } from './reading';
import { searched } from './search';
import { sensitivity } from './sensitivity/section';
import { trained } from './training';
import { isScore, verdict } from './verdict';
import { text, wordsOf } from './words';

const MOST_LINES = 200;

/** The whole report: sections in the order in which a reader asks. */
export function reportView({ report, notes }: Reading): HTMLElement {
  const words = wordsOf(report);
  const kept = words.facts.filter(fact => fact.evidence === false && !isScore(fact));
  const parts = [
    notes.length === 0 ? null : notice(notes),
    verdict(words, deciding(report)),
    nextSteps(report.next_steps),
    sideBySide('Dense and pruned, in float and in int8', words.corners),
    sideBySide('Dense and pruned in each runtime', words.runtimes),
    searched(report.search, words),
    trained(report, words),
    mistakes(report.mistakes),
    why(report.reasons),
    section('What it kept and what is gone', pairs(kept.map(({ name, said }) => [text(name), text(said)]))),
    layers(report),
    sensitivity(report),
    listed('dense again, since they gained nothing', words.returned, report.returned.length),
    listed('left dense, and why', words.left_dense, report.skipped.length),
    ...report.omitted.map(said => element('p', { class: 'hwprune-quiet' }, said)),
    about(report),
  ];
  return element('article', { class: 'hwprune-report' }, ...parts);
}

/** One paragraph in the place of what cannot be shown. */
export function notice(said: string[]): HTMLElement {
  return element('p', { class: 'hwprune-notice', attributes: { role: 'note' } }, withCode(said.join(' ')));
}

function why(reasons: string[]): HTMLElement | null {
  if (reasons.length === 0) {
    return null;
  }
  return section(
    'Why',
    element('ul', {}, ...reasons.slice(0, MOST_LINES).map(said => element('li', {}, withCode(said))))
  );
}

function listed(heading: string, lines: string[], number: number): HTMLElement | null {
  if (number === 0) {
    return null;
  }
  const more = lines.length > MOST_LINES ? [`and ${lines.length - MOST_LINES} more`] : [];
  const items = [...lines.slice(0, MOST_LINES), ...more].map(said => element('li', {}, withCode(said)));
  return folded(`${counted(number, 'layer')} ${heading}`, element('ul', {}, ...items));
}

function about(report: Seen<Report>): HTMLElement {
  const { machine, fingerprints, request } = report;
  const rows: [string, string][] = [['chip', text(report.chip)]];
  if (machine !== null) {
    const load = machine.load_1min === null ? '' : `, load ${machine.load_1min.toFixed(1)} when it was measured`;
    const cores = machine.cores === null ? '' : `, ${counted(machine.cores, 'core')}`;
    rows.push([
      'machine',
      `${text(machine.cpu)}, ${text(machine.architecture)}${cores}, ${text(machine.system)}${load}`,
    ]);
  }
  rows.push(
    ...Object.entries(report.versions).map(([name, version]): [string, string] => [name, text(version)]),
    ['importance', text(request.importance)],
    ['allocation', text(request.allocation)],
    ['weights in, out', `${text(fingerprints.dense)}, ${text(fingerprints.pruned)}`],
    ['made', text(report.created)]
  );
  return folded('machine, versions and the request', pairs(rows));
}
