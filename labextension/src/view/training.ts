/** A training in steps: the score after each, with what was gone by then. */
import type { Report, Words } from '../report';
import { section } from './elements';
import { general, share } from './format';
import { type Mark, frontier } from './frontier';
import { models } from './models';
import type { Seen } from './reading';

const MOST_LABELS = 12;

/** The plot of the steps with a score and the table of the steps; nothing where there was no more than one. */
export function trained(report: Seen<Report>, words: Seen<Words>): HTMLElement | null {
  const table = models(words.training);
  if (table === null) {
    return null;
  }
  const every = Math.ceil(report.trained.length / MOST_LABELS);
  const last = report.trained.length - 1;
  const steps = report.trained.flatMap(({ share: gone, seconds, score }, index): Mark[] => {
    if (gone === null || score === null) {
      return [];
    }
    const time = seconds === null ? '' : `, trained ${seconds.toFixed(1)} s`;
    const said = `step ${index + 1}, ${share(gone)} removed: score ${general(score, 4)}${time}`;
    const mark: Mark = { x: index + 1, y: score, kind: 'run', said };
    return [(last - index) % every === 0 ? { ...mark, label: share(gone) } : mark];
  });
  const dense = report.scores?.dense ?? null;
  const start: Mark[] = dense === null ? [] : [{ x: 0, y: dense, kind: 'dense', said: `dense: ${general(dense, 4)}` }];
  const plot =
    steps.length < 2
      ? null
      : frontier([...start, ...steps], {
          x: 'step, with the share removed',
          y: 'score',
          label: 'Score after each step of the training',
          rising: true,
          inSteps: true,
        });
  return section('The training, step by step', plot, table);
}
