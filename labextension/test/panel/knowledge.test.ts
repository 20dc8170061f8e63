import type { NotebookPanel } from '@jupyterlab/notebook';
import { PromiseDelegate } from '@lumino/coreutils';
import { Signal } from '@lumino/signaling';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Knowledge } from '../../src/panel/knowledge';
import { FakeKernel } from './fake_kernel';

// JupyterLab's notebooks need a browser
vi.mock('../../src/panel/cells', () => ({ isLoadedBy: () => false }));

const NAMESPACE = {
  loaded: false,
  torch: false,
  models: [],
  tensors: [],
  scores: [],
  model: null,
  no_model: 'There is no model: torch is not imported yet.',
  input: null,
  no_input: null,
};

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** A notebook whose kernel is the fake one, as far as Knowledge looks at it. */
function notebookOf(kernel: FakeKernel): NotebookPanel {
  const owner = {};
  const sessionContext = {
    isReady: true,
    hasNoKernel: false,
    kernelPreference: {},
    session: { kernel },
    kernelChanged: new Signal<object, void>(owner),
    statusChanged: new Signal<object, string>(owner),
  };
  return { sessionContext, content: { widgets: [] } } as unknown as NotebookPanel;
}

describe('what the panel knows', () => {
  it('is asked for again where the kernel became free while it was asked', async () => {
    const fake = new FakeKernel();
    fake.about = { namespace: NAMESPACE };
    fake.supportsSubshells = false; // else it is asked about the machine next
    const starting = new PromiseDelegate<void>();
    fake.before = starting.promise;
    const knowledge = new Knowledge(() => false);
    knowledge.follow(notebookOf(fake));
    knowledge.visible = true;
    await vi.advanceTimersByTimeAsync(1300);
    expect(knowledge.hindrance).toEqual({ why: 'busy' });
    starting.resolve(); // its status was idle before, so no change of it follows
    await vi.advanceTimersByTimeAsync(2000);
    expect(knowledge.hindrance).toBeNull();
    expect(knowledge.namespace).toEqual(NAMESPACE);
    expect(fake.sent.filter(each => each.startsWith('execute'))).toHaveLength(1);
    knowledge.dispose();
  });

  it('is not asked by a comm before the kernel listens, unless a cell runs that may have loaded us', async () => {
    const fake = new FakeKernel();
    fake.before = new PromiseDelegate<void>().promise;
    const knowledge = new Knowledge(() => false);
    knowledge.follow(notebookOf(fake));
    knowledge.visible = true;
    await vi.advanceTimersByTimeAsync(5000);
    expect(fake.sent).toEqual(['execute "" true false']);
    knowledge.dispose();
  });
});
