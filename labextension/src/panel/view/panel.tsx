import { ReactWidget, UseSignal, refreshIcon } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';

import { pruneIcon } from '../icon';
import type { PanelModel } from '../model';
import { hindranceWords } from '../words';
import { DoctorSection, TargetsSection } from './availability';
import { LineSection } from './line';
import { ModelSection } from './model';
import { OptionsSection } from './options';
import { Copyable } from './parts';
import { ProgressSection } from './progress';
import { RunsSection } from './runs';
import { TargetSection } from './target';

export const PANEL_ID = 'jp-hwprune-panel';

export class PrunePanel extends ReactWidget {
  constructor(readonly model: PanelModel) {
    super();
    this.id = PANEL_ID;
    this.addClass('jp-hwprune-panel');
    this.title.icon = pruneIcon;
    this.title.caption = 'Prune for a chip';
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Prune for a chip');
  }

  override dispose(): void {
    this.model.dispose();
    super.dispose();
  }

  protected override render() {
    return <UseSignal signal={this.model.changed}>{() => <Panel model={this.model} />}</UseSignal>;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.model.told.visible = true;
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.model.told.visible = false;
  }

  /** A panel that is attached to an area which is already open gets no message that it is shown. */
  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.model.told.visible = this.isVisible;
  }
}

function Panel({ model }: { model: PanelModel }) {
  return (
    <>
      <Head model={model} />
      {model.notebook !== null && <ProgressSection model={model} />}
      <Hindered model={model} />
      {model.notebook !== null && (
        <>
          {model.told.hindrance?.why !== 'other language' && (
            <div className="jp-hwprune-form">
              <ModelSection model={model} />
              <TargetSection model={model} />
              <OptionsSection model={model} />
              <LineSection model={model} />
            </div>
          )}
          <RunsSection model={model} />
          <TargetsSection model={model} />
          <DoctorSection model={model} />
        </>
      )}
    </>
  );
}

function Head({ model }: { model: PanelModel }) {
  return (
    <header className="jp-hwprune-head">
      <h2>Prune for a chip</h2>
      <span className="jp-hwprune-notebook" title={model.notebook?.context.path} data-testid="notebook">
        {model.notebook?.title.label ?? ''}
      </span>
      <button
        type="button"
        className="jp-hwprune-iconButton"
        data-testid="refresh"
        title="Refresh from the kernel"
        aria-label="Refresh from the kernel"
        aria-busy={model.told.asking}
        disabled={model.notebook === null}
        onClick={() => {
          void model.told.ask();
        }}
      >
        <refreshIcon.react tag="span" />
      </button>
    </header>
  );
}

/** Say why the kernel does not answer, with a line that helps. */
function Hindered({ model }: { model: PanelModel }) {
  const message = model.told.hindrance === null ? null : hindranceWords(model.told.hindrance);
  return (
    <div role="status" data-testid="hindrance" data-why={model.told.hindrance?.why ?? ''}>
      {message !== null && (
        <div className="jp-hwprune-hindrance">
          {message.said}
          {message.line !== undefined && <Copyable text={message.line} name="hindrance-line" />}
        </div>
      )}
    </div>
  );
}
