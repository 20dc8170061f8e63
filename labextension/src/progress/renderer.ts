import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import { element } from '../view/elements';
import { middleCut } from '../view/words';
import { elapsed, lastWords, readProgress, steps } from './steps';

export const PROGRESS_TYPE = 'application/vnd.hwprune.progress+json';

/** Show the progress of a run: its phases while it runs, one quiet line when it has ended. */
export class ProgressRenderer extends Widget implements IRenderMime.IRenderer {
  private readonly phases = element('ol', { class: 'hwprune-phases', attributes: { 'aria-hidden': 'true' } });
  private readonly detail = element('span', { class: 'hwprune-quiet' });
  /** Read out when the phase changes, not at each tenth of a second. */
  private readonly status = element('span', { class: 'hwprune-status', attributes: { role: 'status' } });
  private updates = 0;

  constructor() {
    super();
    this.addClass('hwprune-progress');
    this.node.append(this.phases, this.detail, this.status);
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const progress = readProgress(model.data[PROGRESS_TYPE]);
    const isRunning = progress.state === 'running';
    this.updates += 1;
    // the first update may come from a saved notebook, in which nothing runs any more
    this.node.dataset.state = isRunning && this.updates === 1 ? 'still' : (progress.state ?? 'stopped');
    this.phases.hidden = this.detail.hidden = !isRunning;
    if (isRunning) {
      this.phases.replaceChildren(
        ...steps(progress).map(({ name, state }) =>
          element('li', { attributes: { 'data-state': state } }, middleCut(name, 24))
        )
      );
      const said = [progress.detail ?? '', elapsed(progress.elapsed_s)].filter(Boolean);
      this.detail.textContent = middleCut(said.join(', '), 160);
    }
    const spoken = isRunning ? `hwprune: ${middleCut(progress.phase ?? '', 24)}` : middleCut(lastWords(progress), 400);
    if (this.status.textContent !== spoken) {
      this.status.textContent = spoken;
    }
    return Promise.resolve();
  }
}
