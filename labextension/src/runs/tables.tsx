/** The chosen runs as tables: what they reached, and their layers. */
import { useState } from 'react';

import type { compare } from '../panel/compare';
import { middleCut } from '../view/words';
import { aligned } from './layers';
import type { Listed } from './tab';

const SHORT = 25; // layers, before all are asked for
const MOST_LAYERS = 1000;
const LONGEST = 60;

function Heads({ chosen }: { chosen: Listed[] }) {
  return chosen.map(({ id, number, label }) => (
    <th key={id} scope="col">
      {number}: {label}
    </th>
  ));
}

/** What the chosen runs are and reached, a column for each. */
export function SideBySide({ chosen, rows }: { chosen: Listed[]; rows: ReturnType<typeof compare>['rows'] }) {
  const [all, setAll] = useState(false);
  return (
    <section aria-label="Side by side">
      <h3>Side by side</h3>
      <div className="hwprune-scroll" tabIndex={0} role="region" aria-label="Comparison of runs">
        <table data-testid="comparison" className="jp-hwprune-sides">
          <thead>
            <tr>
              <td />
              <Heads chosen={chosen} />
            </tr>
          </thead>
          <tbody>
            {rows
              .filter(row => all || row.differs)
              .map(({ name, values, differs }) => (
                <tr key={name} data-differs={differs} data-testid={`compare-${name}`}>
                  <th scope="row">
                    {name}
                    {differs && <span className="jp-hwprune-unseen"> (differs)</span>}
                  </th>
                  {chosen.map(({ id }, index) => (
                    <td key={id}>{values[index]}</td>
                  ))}
                </tr>
              ))}
          </tbody>
        </table>
      </div>
      <label className="jp-hwprune-check">
        <input
          type="checkbox"
          data-testid="compare-all"
          checked={all}
          onChange={event => {
            setAll(event.target.checked);
          }}
        />
        Also show rows that are equal
      </label>
    </section>
  );
}

/** What each layer takes and lost in each run. */
export function Layers({ chosen }: { chosen: Listed[] }) {
  const [all, setAll] = useState(false);
  const rows = aligned(chosen.map(({ report }) => report));
  if (rows.length === 0) {
    return null;
  }
  return (
    <section aria-label="Layers">
      <h3>Layers</h3>
      <div className="hwprune-scroll" tabIndex={0} role="region" aria-label="Layers of the runs">
        <table data-testid="compare-layers" className="jp-hwprune-sides">
          <thead>
            <tr>
              <th scope="col">layer</th>
              <th scope="col">dense</th>
              <Heads chosen={chosen} />
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, all ? MOST_LAYERS : SHORT).map(({ name, dense, cells }) => (
              <tr key={name}>
                <th scope="row" title={name.slice(0, 400)}>
                  {middleCut(name, LONGEST)}
                </th>
                <td>{dense}</td>
                {cells.map(({ time, gone, verdict }, index) => (
                  <td key={chosen[index]?.id}>
                    {time !== '' && (
                      <span className="hwprune-speed" data-verdict={verdict}>
                        {time}
                      </span>
                    )}{' '}
                    <span className="hwprune-quiet">{gone}</span>
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > SHORT && !all && (
        <button
          type="button"
          className="jp-hwprune-button"
          onClick={() => {
            setAll(true);
          }}
        >
          Show all {rows.length} layers
        </button>
      )}
    </section>
  );
}
