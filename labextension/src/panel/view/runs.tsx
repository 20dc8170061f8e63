/** The reports in this notebook, newest first, and the chosen ones side by side. */
import { useState } from 'react';

import { deciding, estimatedRatio } from '../../view/deciding';
import { fixed } from '../../view/format';
import { middleCut, text, wordsOf } from '../../view/words';
import { compare } from '../compare';
import type { PanelModel } from '../model';
import type { Found } from '../watch';
import { when } from '../words';
import { Fold } from './parts';

const LONGEST = 200;
const LONGEST_TEXT = 160;

export function RunsSection({ model }: { model: PanelModel }) {
  const { reports, chosen, comparing } = model;
  return (
    <Fold model={model} section="runs" title={`Runs in this notebook (${reports.length})`}>
      {reports.length === 0 ? (
        <p className="jp-hwprune-note">None yet. Reports in this notebook’s outputs are listed here.</p>
      ) : (
        <>
          <ul className="jp-hwprune-list" data-testid="runs">
            {reports.slice(0, LONGEST).map(each => (
              <Run key={each.id} model={model} found={each} picked={chosen.includes(each)} />
            ))}
          </ul>
          {reports.length > LONGEST && <p className="jp-hwprune-note">Only the newest {LONGEST} are listed.</p>}
          <div className="jp-hwprune-buttons">
            <button
              type="button"
              className="jp-hwprune-button"
              data-testid="compare"
              aria-expanded={comparing}
              disabled={chosen.length < 2}
              title={chosen.length < 2 ? 'Choose at least two runs' : undefined}
              onClick={() => {
                model.compare(!comparing);
              }}
            >
              {comparing ? 'Close the comparison' : `Compare${chosen.length < 2 ? '' : ` ${chosen.length} runs`}`}
            </button>
          </div>
          {comparing && <Table found={chosen} />}
        </>
      )}
    </Fold>
  );
}

function Run({ model, found, picked }: { model: PanelModel; found: Found; picked: boolean }) {
  const { report } = found;
  const { speedup } = deciding(report);
  const estimate = estimatedRatio(report);
  const words = wordsOf(report);
  const judged = words.badge ?? 'not measured';
  return (
    <li className="jp-hwprune-run" data-testid="run" data-verdict={judged}>
      <input
        type="checkbox"
        checked={picked}
        aria-label={`Compare ${middleCut(text(words.title), LONGEST_TEXT)}`}
        title="Choose for comparison"
        onChange={event => {
          model.pick(found.id, event.target.checked);
        }}
      />
      <button
        type="button"
        className="jp-hwprune-row"
        title="Show its cell"
        onClick={() => {
          model.show(found.cellId);
        }}
      >
        <span className="jp-hwprune-runHead">
          <span className="jp-hwprune-verdict" data-verdict={judged}>
            {judged}
          </span>
          {speedup !== null && <b>{fixed(speedup, 2)}×</b>}
          {estimate !== null && <span>{fixed(estimate, 2)}×</span>}
        </span>
        <span className="jp-hwprune-runWhat">
          {said(report.request.model)} for {said(report.request.target)}, {said(report.request.pattern)}
        </span>
        <small>
          {said(report.request.toolchain)}, {when(report.created)}
        </small>
      </button>
    </li>
  );
}

/** Cut a report's text, which may have any length. */
function said(value: string | null): string {
  return middleCut(text(value), 60);
}

function Table({ found }: { found: Found[] }) {
  const [all, setAll] = useState(false);
  const { rows, cautions } = compare(found.map(each => each.report));
  const shown = all ? rows : rows.filter(row => row.differs);
  return (
    <div className="jp-hwprune-comparison" data-testid="comparison">
      {cautions.map(each => (
        <p key={each} className="jp-hwprune-caution" role="note">
          {each}
        </p>
      ))}
      <div className="jp-hwprune-scroll" tabIndex={0} role="region" aria-label="Comparison of runs">
        <table>
          <thead>
            <tr>
              <td />
              {found.map(({ id, report }) => (
                <th key={id} scope="col">
                  {said(report.request.target)}, {said(report.request.pattern)}
                  <small>{when(report.created)}</small>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map(({ name, values, differs }) => (
              <tr key={name} data-differs={differs} data-testid={`compare-${name}`}>
                <th scope="row">
                  {name}
                  {differs && <span className="jp-hwprune-unseen"> (differs)</span>}
                </th>
                {found.map(({ id }, index) => (
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
    </div>
  );
}
