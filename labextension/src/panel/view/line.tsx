import { runIcon } from '@jupyterlab/ui-components';

import type { PanelModel } from '../model';
import { Copyable } from './parts';

/** The line that the form writes, and the buttons that insert it. */
export function LineSection({ model }: { model: PanelModel }) {
  const insert = (run: boolean) => () => {
    void model.insert(run);
  };
  return (
    <section className="jp-hwprune-line" aria-label="The line">
      <Copyable text={model.line} name="line" />
      <p id="jp-hwprune-obstacle" className="jp-hwprune-note" role="status" data-testid="obstacle">
        {model.obstacle}
      </p>
      <div className="jp-hwprune-buttons">
        <button
          type="button"
          className="jp-hwprune-button jp-mod-accept"
          data-testid="insert-and-run"
          disabled={!model.canRun}
          aria-describedby="jp-hwprune-obstacle"
          onClick={insert(true)}
        >
          <runIcon.react tag="span" />
          Insert and run
        </button>
        <button
          type="button"
          className="jp-hwprune-button"
          data-testid="insert"
          disabled={!model.canInsert}
          onClick={insert(false)}
        >
          Insert cell
        </button>
        <button
          type="button"
          className="jp-hwprune-button"
          data-testid="advise"
          title={`${model.advice}: what each pattern would gain here, before any training`}
          disabled={!model.canRun}
          aria-describedby="jp-hwprune-obstacle"
          onClick={() => {
            void model.insert(true, model.advice);
          }}
        >
          Ask for advice
        </button>
      </div>
    </section>
  );
}
