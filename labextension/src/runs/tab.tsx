/** The runs of one notebook side by side, in a tab of the main area. */
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { Signal } from '@lumino/signaling';
import { useEffect, useRef, useState } from 'react';

import { compare, labels } from '../panel/compare';
import { pruneIcon } from '../panel/icon';
import { when } from '../panel/words';
import { deciding } from '../view/deciding';
import { UNKNOWN } from '../view/format';
import { frontier } from '../view/frontier';
import { wordsOf } from '../view/words';
import { type Across, type Named, plotted } from './plot';
import { MOST_RUNS } from './record';
import type { NotebookRuns, Run } from './runs';
import { Layers, SideBySide } from './tables';

export interface Doors {
  /** The runs of the notebook at a path, null while that is not open. */
  runs: (path: string) => NotebookRuns | null;
  open: (path: string) => void;
  show: (runs: NotebookRuns, run: Run) => void;
}

export class ComparisonTab extends ReactWidget {
  /** The notebook has another path now. */
  readonly moved = new Signal<this, void>(this);
  private readonly changed = new Signal<this, void>(this);
  private runs: NotebookRuns | null = null;

  constructor(
    public path: string,
    private readonly doors: Doors
  ) {
    super();
    this.addClass('jp-hwprune-tab');
    this.addClass('hwprune-output');
    this.title.icon = pruneIcon;
    this.find();
  }

  /** Look for the notebook again, which may just have been opened. */
  find(): void {
    const found = this.doors.runs(this.path);
    if (found !== this.runs) {
      this.runs?.changed.disconnect(this.tell);
      this.runs = found;
      found?.changed.connect(this.tell);
      found?.notebook.context.pathChanged.connect(this.tell);
      found?.follow();
    }
    this.tell();
  }

  override dispose(): void {
    if (this.runs !== null) {
      this.runs.following = false;
      this.runs.changed.disconnect(this.tell);
    }
    Signal.clearData(this);
    super.dispose();
  }

  protected override render() {
    return (
      <UseSignal signal={this.changed}>{() => <Tab path={this.path} runs={this.runs} doors={this.doors} />}</UseSignal>
    );
  }

  private readonly tell = (): void => {
    if (this.runs?.isDisposed === true) {
      this.runs = null; // the notebook was closed
    }
    const before = this.path;
    this.path = this.runs?.path ?? before;
    if (this.path !== before) {
      this.moved.emit();
    }
    const name = this.path.split('/').at(-1) ?? this.path;
    this.title.label = `Runs of ${name}`;
    this.title.caption = `Runs of ${this.path}`;
    this.changed.emit();
  };
}

function Tab({ path, runs, doors }: { path: string; runs: NotebookRuns | null; doors: Doors }) {
  if (runs === null) {
    return (
      <div className="jp-hwprune-tabPart">
        <p>The runs are kept in the notebook {path}, which is not open.</p>
        <button
          type="button"
          className="jp-hwprune-button"
          onClick={() => {
            doors.open(path);
          }}
        >
          Open the notebook
        </button>
      </div>
    );
  }
  const named = labels(runs.runs.map(({ report }) => report)).map((label, index) => ({ label, index }));
  const all: Listed[] = runs.runs.map((run, index) => ({
    ...run,
    label: named[index]?.label ?? '',
    number: runs.runs.length - index, // the oldest is 1, and stays it
    open: () => {
      doors.show(runs, run);
    },
  }));
  const chosen = all.filter(({ id }) => runs.chosen.some(each => each.id === id)).reverse();
  const { rows, cautions } = compare(chosen.map(({ report }) => report));
  return (
    <>
      <h2>Runs of {path.split('/').at(-1)}</h2>
      {all.length === 0 && <p className="hwprune-quiet">None yet. A run that ends appears here.</p>}
      {cautions.map(each => (
        <p key={each} className="jp-hwprune-caution" role="note">
          {each}
        </p>
      ))}
      <div className="jp-hwprune-tabTop">
        <List runs={runs} all={all} />
        {chosen.length > 0 && <Plot chosen={chosen} />}
      </div>
      {chosen.length > 1 && <SideBySide chosen={chosen} rows={rows} />}
      {chosen.length > 0 && <Layers chosen={chosen} />}
    </>
  );
}

/** A run as the list has it. */
export type Listed = Named & Run;

function List({ runs, all }: { runs: NotebookRuns; all: Listed[] }) {
  const { rows } = compare(all.map(({ report }) => report));
  const cell = (name: string, index: number) => rows.find(row => row.name === name)?.values[index] ?? UNKNOWN;
  const short = (name: string, index: number) => cell(name, index).split(' (')[0];
  return (
    <section aria-label="Runs" className="jp-hwprune-tabList">
      <div className="hwprune-scroll">
        <table data-testid="kept-runs">
          <thead>
            <tr>
              <td />
              {['run', 'verdict', 'score', 'size'].map(name => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {all.map(({ id, number, label, open, cellId, report }, index) => (
              <tr key={id} data-testid="kept-run" data-kept={cellId === null}>
                <td>
                  <input
                    type="checkbox"
                    aria-label={`Compare run ${number}`}
                    checked={runs.chosen.some(each => each.id === id)}
                    onChange={event => {
                      runs.pick(id, event.target.checked);
                    }}
                  />
                </td>
                <th scope="row">
                  <button
                    type="button"
                    className="jp-hwprune-link"
                    title={cellId === null ? 'Show what is kept of it: its output has gone' : 'Show its cell'}
                    onClick={open}
                  >
                    {number}: {label}
                  </button>
                  <small className="hwprune-quiet">
                    {when(report.created)}
                    {cellId === null && ', kept without its output'}
                  </small>
                </th>
                <td>
                  <span className="jp-hwprune-verdict" data-verdict={wordsOf(report).badge}>
                    {cell('verdict', index)}
                  </span>{' '}
                  {deciding(report).speedup !== null && short('speed-up', index)}
                </td>
                {['score', 'size'].map(name => (
                  <td key={name}>{short(name, index)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {runs.dropped > 0 && (
        <p className="hwprune-quiet">
          {runs.dropped} older {runs.dropped === 1 ? 'run was' : 'runs were'} dropped: a notebook keeps at most{' '}
          {MOST_RUNS} runs, and 600 kB of them.
        </p>
      )}
      {runs.hasKept && (
        <p className="hwprune-quiet">
          They are kept in the notebook’s metadata.{' '}
          <button
            type="button"
            className="jp-hwprune-link"
            onClick={() => {
              runs.forget();
            }}
          >
            Forget them
          </button>
        </p>
      )}
    </section>
  );
}

function Plot({ chosen }: { chosen: Listed[] }) {
  const [across, setAcross] = useState<Across>('speed-up');
  const { marks, axes, left } = plotted(chosen, across);
  const place = useRef<HTMLDivElement>(null);
  const drawn = JSON.stringify([marks, axes]);
  useEffect(() => {
    const plot = frontier(marks, axes);
    place.current?.replaceChildren(plot ?? 'None of these runs can be drawn.');
  }, [drawn]); // another one only where it would look another way: the focus stays in it
  return (
    <section aria-label="Frontier" className="jp-hwprune-tabPlot" data-testid="frontier">
      <div ref={place} />
      <label className="hwprune-quiet">
        against{' '}
        <select
          value={across}
          onChange={event => {
            setAcross(event.target.value as Across);
          }}
        >
          <option value="speed-up">speed-up</option>
          <option value="time">time</option>
        </select>
      </label>
      {left.map(each => (
        <p key={each} className="hwprune-quiet" data-testid="not-drawn">
          Not drawn: {each}.
        </p>
      ))}
    </section>
  );
}
