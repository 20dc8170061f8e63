/** What can be measured here: for the chosen target, for all targets, and by each toolchain. */
import { refreshIcon } from '@jupyterlab/ui-components';

import type { Obstacle } from '../answers';
import type { PanelModel } from '../model';
import { rowOf, judgeOf, stateOf } from '../words';
import { Copyable, Fold } from './parts';

/** Whether the chosen target can be measured here; if not, why, and the cure. */
export function Availability({ model }: { model: PanelModel }) {
  const { asked } = model;
  const { choices, machine } = model.told;
  const row = rowOf(choices, asked.target);
  const state = stateOf(machine, row);
  if (row === null) {
    return null;
  }
  if (state === null) {
    return <Unchecked model={model} />;
  }
  const toolchain = judgeOf(row, state, asked.toolchain)?.toolchain ?? '';
  const obstacles = state.obstacles.filter(each => asked.toolchain === '' || each.toolchain === toolchain);
  if (state.usable.includes(toolchain)) {
    return (
      <p className="jp-hwprune-state" data-state="ready" data-testid="availability">
        Measured here by {state.usable.join(', ')}.
      </p>
    );
  }
  return (
    <div className="jp-hwprune-state" data-state="missing" data-testid="availability">
      <p>It cannot be timed here. A run prunes and checks the model, and the report says what is missing.</p>
      <Obstacles obstacles={obstacles} />
    </div>
  );
}

function Unchecked({ model }: { model: PanelModel }) {
  if (model.told.askingMachine) {
    return (
      <p className="jp-hwprune-note" role="status">
        Checking what each toolchain can measure here…
      </p>
    );
  }
  return (
    <button
      type="button"
      className="jp-hwprune-button"
      data-testid="check-machine"
      disabled={model.told.hindrance !== null}
      onClick={() => {
        void model.told.askMachine();
      }}
    >
      <refreshIcon.react tag="span" />
      Check what can be measured here
    </button>
  );
}

/** List obstacles, those with the same reason together. */
function Obstacles({ obstacles }: { obstacles: readonly Obstacle[] }) {
  const byReason = new Map<string, { names: string[]; cure: string | null }>();
  for (const { toolchain, reason, cure } of obstacles) {
    const known = byReason.get(reason ?? 'no reason is known');
    byReason.set(reason ?? 'no reason is known', { names: [...(known?.names ?? []), toolchain], cure });
  }
  return (
    <ul className="jp-hwprune-obstacles">
      {[...byReason].map(([reason, { names, cure }]) => (
        <li key={reason}>
          <b>{names.join(', ')}</b>: {reason}.{cure !== null && <Cure text={cure} />}
        </li>
      ))}
    </ul>
  );
}

/** Show a command with a button to copy it, advice as text. */
function Cure({ text }: { text: string }) {
  return /^(%|pip |sudo |python )/.test(text) && !text.includes(', once ') ? (
    <Copyable text={text} name="cure" />
  ) : (
    <p className="jp-hwprune-note">{text}</p>
  );
}

export function TargetsSection({ model }: { model: PanelModel }) {
  const { choices, machine } = model.told;
  return (
    <Fold model={model} section="targets" title="All targets">
      <ul className="jp-hwprune-list">
        {(choices?.targets ?? []).map(row => {
          const state = stateOf(machine, row);
          const here = state === null ? '' : state.usable.length > 0 ? 'ready' : 'missing';
          return (
            <li key={row.name} data-testid={`target-${row.name}`}>
              <button
                type="button"
                className="jp-hwprune-row"
                title={`Prune for ${row.name}`}
                onClick={() => {
                  model.set({ target: row.name, toolchain: '', pattern: '', sparsity: '' });
                  model.want('target');
                }}
              >
                <span className="jp-hwprune-dot" data-state={here} aria-hidden="true" />
                <span>
                  <b>{row.name}</b> <small>{row.chip}</small>
                  <small>{row.judges.map(each => `${each.pattern} with ${each.toolchain}`).join('; ')}</small>
                  {here !== '' && (
                    <small>
                      {here === 'ready' ? `measured here by ${state?.usable.join(', ') ?? ''}` : 'not measured here'}
                    </small>
                  )}
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {choices === null && <p className="jp-hwprune-note">The list needs a kernel with jupyter-hwprune.</p>}
    </Fold>
  );
}

export function DoctorSection({ model }: { model: PanelModel }) {
  const refresh = (
    <button
      type="button"
      className="jp-hwprune-iconButton"
      data-testid="refresh-machine"
      title="Check again"
      aria-label="Check the toolchains again"
      disabled={model.told.askingMachine || model.told.hindrance !== null}
      onClick={() => {
        void model.told.askMachine();
      }}
    >
      <refreshIcon.react tag="span" />
    </button>
  );
  return (
    <Fold model={model} section="doctor" title="Doctor" aside={refresh}>
      {model.told.machine === null ? (
        <Unchecked model={model} />
      ) : (
        <ul className="jp-hwprune-list">
          {model.told.machine.parts.map(part => (
            <li key={part.name} className="jp-hwprune-part" data-testid={`part-${part.name}`}>
              <span className="jp-hwprune-dot" data-state={part.state} aria-hidden="true" />
              <div>
                <b>{part.name}</b> <small>{part.state}</small>
                {part.said.map(said => (
                  <small key={said}>{said}</small>
                ))}
                {part.cure !== null && <Cure text={part.cure} />}
              </div>
            </li>
          ))}
        </ul>
      )}
    </Fold>
  );
}
