/** Choose the chip to prune for, and the toolchain that measures. */
import type { Choices, Machine } from '../answers';
import { DEFAULTS, LABELS } from '../line';
import type { PanelModel } from '../model';
import { ALL, judgeOf, rowOf, stateOf } from '../words';
import { Availability } from './availability';
import { Fold, type Offer, SelectField, TextField, asOffer } from './parts';

export function TargetSection({ model }: { model: PanelModel }) {
  const { asked } = model;
  const { choices, machine } = model.told;
  const row = rowOf(choices, asked.target);
  const state = stateOf(machine, row);
  const judge = judgeOf(row, state, asked.toolchain);
  const toolchains = (row?.judges ?? []).map(({ toolchain }) => ({
    value: toolchain,
    label: state === null || state.usable.includes(toolchain) ? toolchain : `${toolchain} (not here)`,
  }));
  return (
    <Fold model={model} section="target" title="Target">
      {choices === null ? (
        <TextField
          name="target"
          label={LABELS.target}
          value={asked.target}
          onChange={target => {
            model.set({ target });
          }}
        />
      ) : (
        <SelectField
          name="target"
          label={LABELS.target}
          value={asked.target}
          onChange={target => {
            model.set({ target, toolchain: '', pattern: '', sparsity: '', importance: DEFAULTS.importance });
          }}
          groups={targetGroups(choices, machine)}
          note={row?.chip}
        />
      )}
      <Availability model={model} />
      {toolchains.length > 1 && (
        <SelectField
          name="toolchain"
          label={LABELS.toolchain}
          value={asked.toolchain}
          onChange={toolchain => {
            model.set({ toolchain });
          }}
          groups={[
            {
              offers: [
                { value: '', label: judge === null ? 'automatic' : `automatic: ${judge.toolchain}` },
                ...toolchains,
                { value: ALL, label: 'all that run here, side by side' },
              ],
            },
          ]}
        />
      )}
    </Fold>
  );
}

function targetGroups(choices: Choices, machine: Machine | null): { label?: string; offers: Offer[] }[] {
  const own = { value: 'cpu', label: `this CPU (${choices.aliases.cpu ?? ''})` };
  const offers = choices.targets.map(each => asOffer(each.name));
  if (machine === null) {
    return [{ offers: [own, ...offers] }];
  }
  const measured = (name: string) => (machine.targets.find(each => each.name === name)?.usable.length ?? 0) > 0;
  return [
    { offers: [own] },
    { label: 'Measured on this machine', offers: offers.filter(({ value }) => measured(value)) },
    { label: 'Not measured on this machine', offers: offers.filter(({ value }) => !measured(value)) },
  ];
}
