/** Choose the model to prune and its example input. */
import { LABELS } from '../line';
import type { PanelModel } from '../model';
import { aboutModel, aboutTensor } from '../words';
import { Fold, SelectField, TextField, asOffer } from './parts';

export function ModelSection({ model }: { model: PanelModel }) {
  const { asked } = model;
  const { namespace } = model.told;
  const models = namespace?.models ?? [];
  const setModel = (value: string) => {
    model.set({ model: value, input: '' }); // another model's input would rarely fit
  };
  const unlisted = models.every(each => each.name !== asked.model);
  return (
    <Fold model={model} section="model" title="Model">
      {namespace !== null && models.length === 0 && (
        <p className="jp-hwprune-note">
          {namespace.torch
            ? 'There is no model yet: run the cell that makes one, a torch.nn.Module.'
            : 'There is no model: torch is not imported yet. Run the cell that makes one.'}
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
  const { asked } = model;
  const { namespace } = model.told;
  const tensors = namespace?.tensors ?? [];
  const set = (value: string) => {
    model.set({ input: value });
  };
  if (tensors.length === 0) {
    return <TextField name="input" label={LABELS.input} value={asked.input} onChange={set} placeholder="x" />;
  }
  const offers = tensors.map(each => ({ value: each.name, label: aboutTensor(each) }));
  const own = offers.some(each => each.value === asked.input) || asked.input === '' ? [] : [asOffer(asked.input)];
  const automatic = { value: '', label: namespace?.input ? `automatic: ${namespace.input}` : 'choose one' };
  const unclear = asked.input === '' && namespace?.input === null;
  return (
    <SelectField
      name="input"
      label={LABELS.input}
      value={asked.input}
      onChange={set}
      groups={[{ offers: [automatic, ...own, ...offers] }]}
      note={unclear ? 'Choose the tensor that the model takes as its input.' : undefined}
    />
  );
}
