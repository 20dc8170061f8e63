/** The progress of the current run with a button to stop it, or how the last run ended. */
import { stopIcon } from '@jupyterlab/ui-components';
import { useEffect, useState } from 'react';

import { steps } from '../../progress/steps';
import { middleCut } from '../../view/words';
import type { Progress } from '../answers';
import type { PanelModel } from '../model';
import type { Course } from '../watch';
import { elapsed } from '../words';

const TICK_MS = 500;
const LONGEST = 300;

export function ProgressSection({ model }: { model: PanelModel }) {
  const { course } = model;
  return (
    <section className="jp-hwprune-progress" aria-label="Progress" data-testid="progress" hidden={course === null}>
      {course !== null && <Card model={model} course={course} />}
      {/* announced once per phase, not at every tick */}
      <div className="jp-hwprune-unseen" role="status" aria-live="polite">
        {course === null ? '' : announced(course)}
      </div>
    </section>
  );
}

function announced(course: Course): string {
  return `hwprune: ${middleCut(course.lives && course.progress.state === 'running' ? course.progress.phase : ended(course), LONGEST)}`;
}

function Card({ model, course }: { model: PanelModel; course: Course }) {
  const { progress, heardAt, lives } = course;
  const goesOn = lives && progress.state === 'running';
  const now = useNow(goesOn);
  const state = goesOn ? 'running' : progress.state === 'running' ? 'lost' : progress.state;
  return (
    <div
      className="jp-hwprune-card"
      data-state={state}
      data-phase={middleCut(progress.phase, 24)}
      data-testid="progress-card"
    >
      <div className="jp-hwprune-cardHead">
        <button
          type="button"
          className="jp-hwprune-link"
          title="Show the cell"
          onClick={() => {
            model.show(course.cellId);
          }}
        >
          {goesOn ? 'Running' : ENDED[state]}
        </button>
        <span className="jp-hwprune-clock" data-testid="elapsed">
          {elapsed(progress, heardAt, goesOn, now)}
        </span>
        {/* above everything that changes height during a run: a button that moves while pressed loses the click */}
        {goesOn && (
          <button
            type="button"
            className="jp-hwprune-button"
            data-testid="cancel"
            disabled={model.cancelling}
            title="Interrupt the kernel"
            onClick={() => {
              void model.cancel();
            }}
          >
            <stopIcon.react tag="span" />
            {model.cancelling ? 'Stopping…' : 'Cancel'}
          </button>
        )}
      </div>
      {goesOn && <Steps progress={progress} />}
      <p data-testid="progress-said">
        {middleCut(goesOn ? `${progress.phase}: ${progress.detail}` : ended(course), LONGEST).replaceAll(
          ' %',
          '\u00a0%'
        )}
      </p>
    </div>
  );
}

const ENDED: Record<string, string> = { done: 'Done', stopped: 'Stopped', lost: 'Ended' };

function ended({ progress }: Course): string {
  const lost = `the kernel ended in phase ${progress.phase}`;
  return progress.state === 'running' ? lost : (progress.summary ?? '');
}

function Steps({ progress }: { progress: Progress }) {
  return (
    <ol className="jp-hwprune-steps" aria-label="Phases">
      {steps(progress).map(({ name, state }) => (
        <li key={name} data-state={state} aria-current={state === 'now' ? 'step' : undefined}>
          <span>{middleCut(name, 24)}</span>
        </li>
      ))}
    </ol>
  );
}

/** This page's clock, ticking while a run goes on. */
function useNow(ticks: boolean): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!ticks) {
      return undefined;
    }
    const timer = window.setInterval(() => {
      setNow(Date.now());
    }, TICK_MS);
    return () => {
      window.clearInterval(timer);
    };
  }, [ticks]);
  return now;
}
