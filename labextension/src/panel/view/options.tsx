/** Choose how to prune, and how to score the result. */
import { share } from '../../view/format';
import type { Choices, JudgeOffered } from '../answers';
import { type Asked, LABELS, fixedSparsity, hasGoal } from '../line';
import type { PanelModel } from '../model';
import { rowOf, judgeOf, stateOf } from '../words';
import { Fold, SelectField, TextField, asOffer } from './parts';

export function OptionsSection({ model }: { model: PanelModel }) {
  const { asked, faults } = model;
  const { choices, namespace } = model.told;
  const row = rowOf(choices, asked.target);
  const judge = judgeOf(row, stateOf(model.told.machine, row), asked.toolchain);
  const pattern = asked.pattern || (judge?.pattern ?? '');
  const fixed = fixedSparsity(pattern);
  const isSearched = hasGoal(asked);
  const set = (name: keyof Asked) => (value: string) => {
    model.set({ [name]: value });
  };
  return (
    <Fold model={model} section="options" title="How">
      <Goal model={model} />
      <div className="jp-hwprune-pair">
        <TextField
          name="pattern"
          label={LABELS.pattern}
          value={asked.pattern}
          onChange={value => {
            model.set({ pattern: value, ...(fixedSparsity(value) === null ? {} : { sparsity: '' }) });
          }}
          placeholder={judge?.pattern ?? "target's"}
          offers={choices?.patterns ?? []}
          fault={faults.pattern}
        />
        <TextField
          name="sparsity"
          label={LABELS.sparsity}
          value={fixed === null && !isSearched ? asked.sparsity : ''}
          onChange={set('sparsity')}
          placeholder={isSearched ? 'the search finds it' : String(fixed ?? judge?.sparsity ?? "target's")}
          disabled={fixed !== null || isSearched}
          note={fixed === null ? undefined : `${pattern} always removes ${share(fixed)}.`}
          fault={fixed === null ? faults.sparsity : undefined}
        />
      </div>
      <div className="jp-hwprune-pair">
        <SelectField
          name="importance"
          label={LABELS.importance}
          value={asked.importance}
          onChange={set('importance')}
          groups={[{ offers: importances(choices, pattern, asked.importance).map(asOffer) }]}
        />
        <TextField
          name="variable"
          label={LABELS.variable}
          value={asked.variable}
          onChange={set('variable')}
          placeholder="run"
          fault={faults.variable}
        />
      </div>
      <TextField
        name="eval"
        label={LABELS.eval}
        value={asked.eval}
        onChange={set('eval')}
        placeholder={`accuracy(${asked.model || 'model'})`}
        offers={namespace?.scores ?? []}
      />
      <More model={model} set={set} judge={judge} />
    </Fold>
  );
}

interface Rest {
  model: PanelModel;
  set: (name: keyof Asked) => (value: string) => void;
  judge: JudgeOffered | null;
}

/** What the model has to reach; the search then finds the sparsity. */
function Goal({ model }: { model: PanelModel }) {
  const { asked, faults } = model;
  const goal = (name: keyof Asked) => (value: string) => {
    model.set({ [name]: value, ...(value.trim() === '' ? {} : { sparsity: '' }) });
  };
  return (
    <div className="jp-hwprune-pair">
      <TextField
        name="speedup"
        label={LABELS.speedup}
        value={asked.speedup}
        onChange={goal('speedup')}
        placeholder="none; 2"
        fault={faults.speedup}
      />
      <TextField
        name="max_drop"
        label={LABELS.max_drop}
        value={asked.max_drop}
        onChange={goal('max_drop')}
        placeholder="any; 0.01"
        fault={faults.max_drop}
      />
    </div>
  );
}

function More({ model, set, judge }: Rest) {
  const { asked, faults } = model;
  const { choices, namespace } = model.told;
  const allocations = choices?.allocations ?? [asked.allocation];
  return (
    <details className="jp-hwprune-more">
      <summary>More</summary>
      <TextField
        name="latency_ms"
        label={LABELS.latency_ms}
        value={asked.latency_ms}
        onChange={set('latency_ms')}
        placeholder="none"
        fault={faults.latency_ms}
      />
      <TextField
        name="calib"
        label={LABELS.calib}
        value={asked.calib}
        onChange={set('calib')}
        placeholder="the example input"
        offers={namespace?.tensors.map(each => each.name) ?? []}
      />
      <TextField
        name="recover"
        label={LABELS.recover}
        value={asked.recover}
        onChange={set('recover')}
        placeholder="none; 200"
        fault={faults.recover}
      />
      <SelectField
        name="allocation"
        label={LABELS.allocation}
        value={asked.allocation}
        onChange={set('allocation')}
        groups={[{ offers: allocations.map(asOffer) }]}
      />
      <TextField
        name="dtype"
        label={LABELS.dtype}
        value={asked.dtype}
        onChange={set('dtype')}
        placeholder="the model's own"
        offers={judge?.dtypes ?? []}
      />
      <TextField
        name="threads"
        label={LABELS.threads}
        value={asked.threads}
        onChange={set('threads')}
        fault={faults.threads}
      />
    </details>
  );
}

/** The importances that fit the pattern; the chosen one stays in the list even if it does not fit. */
function importances(choices: Choices | null, pattern: string, chosen: string): string[] {
  const fitting = pattern.startsWith('channel') ? choices?.channel_importance : choices?.weight_importance;
  return [...new Set([...(fitting ?? []), chosen])];
}
