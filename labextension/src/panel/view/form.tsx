/** What is asked for: the model, the target, how to prune, and the line that says so. */
import { runIcon } from '@jupyterlab/ui-components';

import type { Choices } from '../answers';
import { type Asked, DEFAULTS, fixedSparsity } from '../line';
import type { PanelModel } from '../model';
import { aboutModel, aboutTensor, rowOf, stackOf, stateOf } from '../words';
import { share } from '../../view/format';
import { Availability } from './availability';
import { Copyable, Fold, type Offer, SelectField, TextField } from './parts';

export function ModelSection({ model }: { model: PanelModel }) {
  const { namespace, asked } = model;
  const models = namespace?.models ?? [];
  const setModel = (value: string) => {
    model.set({ model: value });
  };
  const unlisted = models.every(each => each.name !== asked.model);
  return (
    <Fold model={model} section="model" title="Model">
      {namespace !== null && models.length === 0 && (
        <p className="jp-hwprune-note">
          {namespace.torch
            ? 'No model is here yet: run the cell that makes one, a torch.nn.Module.'
            : 'No model is here: torch is not imported yet. Run the cell that makes one.'}
        </p>
      )}
      {models.length > 0 && (
        <div className="jp-hwprune-models" role="radiogroup" aria-label="Models in this notebook">
          {models.map(each => (
            <label key={each.name} className="jp-hwprune-choice" data-testid={`model-${each.name}`}>
              <input
                type="radio"
                name="jp-hwprune-model"
                checked={each.name === asked.model}
                onChange={() => {
                  setModel(each.name);
                }}
              />
              <span>
                <code>{each.name}</code>
                <small>{aboutModel(each)}</small>
              </span>
            </label>
          ))}
        </div>
      )}
      {(models.length === 0 || (unlisted && asked.model !== '')) && (
        <TextField
          name="model"
          label="Name or expression"
          value={asked.model}
          onChange={setModel}
          placeholder="model"
        />
      )}
      <InputField model={model} />
    </Fold>
  );
}

function InputField({ model }: { model: PanelModel }) {
  const { namespace, asked } = model;
  const tensors = namespace?.tensors ?? [];
  const set = (value: string) => {
    model.set({ input: value });
  };
  if (tensors.length === 0) {
    return <TextField name="input" label="Example input" value={asked.input} onChange={set} placeholder="x" />;
  }
  const offers = tensors.map(each => ({ value: each.name, label: aboutTensor(each) }));
  const own = offers.some(each => each.value === asked.input) || asked.input === '' ? [] : [asLabel(asked.input)];
  const automatic = { value: '', label: namespace?.input ? `automatic: ${namespace.input}` : 'choose one' };
  const unclear = asked.input === '' && namespace?.input === null;
  return (
    <SelectField
      name="input"
      label="Example input"
      value={asked.input}
      onChange={set}
      groups={[{ offers: [automatic, ...own, ...offers] }]}
      note={unclear ? 'Which tensor the model takes is not clear: choose it.' : undefined}
    />
  );
}

export function TargetSection({ model }: { model: PanelModel }) {
  const { choices, machine, asked } = model;
  const row = rowOf(choices, asked.target);
  const state = stateOf(machine, row);
  const stack = stackOf(row, state, asked.toolchain);
  const toolchains = (row?.stacks ?? []).map(({ toolchain }) => ({
    value: toolchain,
    label: state === null || state.usable.includes(toolchain) ? toolchain : `${toolchain} (not here)`,
  }));
  return (
    <Fold model={model} section="target" title="Target">
      {choices === null ? (
        <TextField
          name="target"
          label="Chip"
          value={asked.target}
          onChange={target => {
            model.set({ target });
          }}
        />
      ) : (
        <SelectField
          name="target"
          label="Chip"
          value={asked.target}
          onChange={target => {
            model.set({ target, toolchain: '', pattern: '', sparsity: '', importance: DEFAULTS.importance });
          }}
          groups={targetGroups(choices, model)}
          note={row?.chip}
        />
      )}
      <Availability model={model} />
      {toolchains.length > 1 && (
        <SelectField
          name="toolchain"
          label="Toolchain"
          value={asked.toolchain}
          onChange={toolchain => {
            model.set({ toolchain });
          }}
          groups={[
            {
              offers: [
                { value: '', label: stack === null ? 'automatic' : `automatic: ${stack.toolchain}` },
                ...toolchains,
              ],
            },
          ]}
        />
      )}
    </Fold>
  );
}

function targetGroups(choices: Choices, { machine }: PanelModel): { label?: string; offers: Offer[] }[] {
  const own = { value: 'cpu', label: `this CPU (${choices.aliases.cpu ?? ''})` };
  const offers = choices.targets.map(each => asLabel(each.name));
  if (machine === null) {
    return [{ offers: [own, ...offers] }];
  }
  const measured = (name: string) => (machine.targets.find(each => each.name === name)?.usable.length ?? 0) > 0;
  return [
    { offers: [own] },
    { label: 'Measured on this machine', offers: offers.filter(({ value }) => measured(value)) },
    { label: 'Pruned for, not measured here', offers: offers.filter(({ value }) => !measured(value)) },
  ];
}

export function OptionsSection({ model }: { model: PanelModel }) {
  const { asked, choices, namespace, faults } = model;
  const row = rowOf(choices, asked.target);
  const stack = stackOf(row, stateOf(model.machine, row), asked.toolchain);
  const pattern = asked.pattern || (stack?.pattern ?? '');
  const fixed = fixedSparsity(pattern);
  const set = (name: keyof Asked) => (value: string) => {
    model.set({ [name]: value });
  };
  return (
    <Fold model={model} section="options" title="How">
      <div className="jp-hwprune-pair">
        <TextField
          name="pattern"
          label="Pattern"
          value={asked.pattern}
          onChange={value => {
            model.set({ pattern: value, ...(fixedSparsity(value) === null ? {} : { sparsity: '' }) });
          }}
          placeholder={stack?.pattern ?? "the target's"}
          offers={choices?.patterns ?? []}
          fault={faults.pattern}
        />
        <TextField
          name="sparsity"
          label="Sparsity"
          value={fixed === null ? asked.sparsity : ''}
          onChange={set('sparsity')}
          placeholder={String(fixed ?? stack?.sparsity ?? "the target's")}
          disabled={fixed !== null}
          note={fixed === null ? undefined : `${pattern} removes ${share(fixed)} by itself.`}
          fault={fixed === null ? faults.sparsity : undefined}
        />
      </div>
      <div className="jp-hwprune-pair">
        <SelectField
          name="importance"
          label="Importance"
          value={asked.importance}
          onChange={set('importance')}
          groups={[{ offers: importances(choices, pattern, asked.importance).map(asLabel) }]}
        />
        <TextField
          name="variable"
          label="Keep as"
          value={asked.variable}
          onChange={set('variable')}
          placeholder="run"
          fault={faults.variable}
        />
      </div>
      <TextField
        name="eval"
        label="Score, higher is better"
        value={asked.eval}
        onChange={set('eval')}
        placeholder={`accuracy(${asked.model || 'model'})`}
        offers={namespace?.scores ?? []}
      />
      <More model={model} set={set} />
    </Fold>
  );
}

function More({ model, set }: { model: PanelModel; set: (name: keyof Asked) => (value: string) => void }) {
  const { asked, choices, namespace, faults } = model;
  const allocations = choices?.allocations ?? [asked.allocation];
  return (
    <details className="jp-hwprune-more">
      <summary>More</summary>
      <TextField
        name="calib"
        label="Calibration inputs"
        value={asked.calib}
        onChange={set('calib')}
        placeholder="the example input"
        offers={namespace?.tensors.map(each => each.name) ?? []}
      />
      <SelectField
        name="allocation"
        label="Sparsity is shared out"
        value={asked.allocation}
        onChange={set('allocation')}
        groups={[{ offers: allocations.map(asLabel) }]}
      />
      <TextField
        name="threads"
        label="Threads of the compiled model"
        value={asked.threads}
        onChange={set('threads')}
        fault={faults.threads}
      />
    </details>
  );
}

/** What ranks channels ranks no single weights; what is chosen stays to be seen even where it does not fit. */
function importances(choices: Choices | null, pattern: string, chosen: string): string[] {
  const fitting = pattern.startsWith('channel') ? choices?.channel_importance : choices?.weight_importance;
  return [...new Set([...(fitting ?? []), chosen])];
}

function asLabel(value: string): Offer {
  return { value, label: value };
}

/** The line that the form stands for, and what is done with it. */
export function LineSection({ model }: { model: PanelModel }) {
  const insert = (run: boolean) => () => {
    void model.insert(run);
  };
  return (
    <section className="jp-hwprune-line" aria-label="The line">
      <Copyable text={model.line} name="line" />
      <div className="jp-hwprune-buttons">
        <button
          type="button"
          className="jp-hwprune-button jp-mod-accept"
          data-testid="insert-and-run"
          disabled={!model.canInsert}
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
      </div>
    </section>
  );
}
