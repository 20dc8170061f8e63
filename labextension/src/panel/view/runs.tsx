/** The runs of this notebook, newest first, of which some can be chosen to be compared. */
import type { Run as Shown } from '../../runs/runs';
import { deciding, estimatedRatio } from '../../view/deciding';
import { fixed } from '../../view/format';
import { middleCut, text, wordsOf } from '../../view/words';
import type { PanelModel } from '../model';
import { when } from '../words';
import { Fold } from './parts';

const LONGEST = 200;
const LONGEST_TEXT = 160;

export function RunsSection({ model }: { model: PanelModel }) {
  const { reports, chosen } = model;
  return (
    <Fold model={model} section="runs" title={`Runs in this notebook (${reports.length})`}>
      {reports.length === 0 ? (
        <p className="jp-hwprune-note">
          None yet. Runs of this notebook are listed here, and kept when their outputs have gone.
        </p>
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
              disabled={reports.length < 2}
              title={compareTitle(reports.length, chosen.length)}
              onClick={() => {
                model.compare();
              }}
            >
              {`Compare${chosen.length < 2 ? '' : ` ${chosen.length} runs`}`}
            </button>
          </div>
        </>
      )}
    </Fold>
  );
}

function compareTitle(all: number, chosen: number): string {
  if (all < 2) {
    return 'There is only one run yet';
  }
  return chosen < 2 ? 'Compare the newest runs; choose some to compare those' : 'Compare the chosen runs';
}

function Run({ model, found, picked }: { model: PanelModel; found: Shown; picked: boolean }) {
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
        title={found.cellId === null ? 'Show what is kept of it: its output has gone' : 'Show its cell'}
        onClick={() => {
          model.showRun(found);
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
          {found.cellId === null && ', kept without its output'}
        </small>
      </button>
    </li>
  );
}

/** Cut a report's text, which may have any length. */
function said(value: string | null): string {
  return middleCut(text(value), 60);
}
