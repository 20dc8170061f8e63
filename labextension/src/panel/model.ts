/** The panel's state and actions, apart from its looks: the current notebook, its form, and its runs. */
import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { insertBelow, isLoadedBy, runCell, scrollTo } from './cells';
import { Knowledge } from './knowledge';
import { type Asked, adviceLine, DEFAULTS, faults, magicLine } from './line';
import type { AllRuns, NotebookRuns, Run } from '../runs/runs';
import type { RunTabs } from '../runs/tabs';
import type { Course, NotebookWatch } from './watch';

export type Section = 'model' | 'target' | 'options' | 'runs' | 'targets' | 'doctor';

export class PanelModel implements IDisposable {
  readonly changed = new Signal<this, void>(this);
  /** What the kernel has told the panel. */
  readonly told = new Knowledge(() => this.watch?.isRunning ?? false);
  notebook: NotebookPanel | null = null;
  cancelling = false;
  /** The open sections, and the one that a command wants to show. */
  readonly open = new Set<Section>(['model', 'target', 'options', 'runs']);
  wanted: Section | null = null;
  private runs: NotebookRuns | null = null;
  private defaults: Asked = DEFAULTS;
  private readonly forms = new WeakMap<NotebookPanel, Asked>();
  private wasBusy = false;
  private cancelledIn: string | null = null;
  private disposed = false;

  constructor(
    private readonly tracker: INotebookTracker,
    private readonly allRuns: AllRuns,
    private readonly tabs: RunTabs
  ) {
    tracker.currentChanged.connect(this.follow);
    NotebookActions.executed.connect(this.onExecuted);
    NotebookActions.executionScheduled.connect(this.onScheduled);
    this.told.changed.connect(this.onTold);
    this.follow();
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    this.tracker.currentChanged.disconnect(this.follow);
    NotebookActions.executed.disconnect(this.onExecuted);
    this.runs?.changed.disconnect(this.onWatched);
    NotebookActions.executionScheduled.disconnect(this.onScheduled);
    this.told.dispose();
    Signal.clearData(this);
  }

  // What the panel shows.

  /** Newest first. */
  get reports(): Run[] {
    return this.runs?.runs ?? [];
  }

  /** The runs chosen for comparison. */
  get chosen(): Run[] {
    return this.runs?.chosen ?? [];
  }

  get course(): Course | null {
    return this.watch?.course ?? null;
  }

  get busy(): boolean {
    return this.watch?.busy ?? false;
  }

  /** The form, with the model that `%hwprune` would use by itself if none is chosen. */
  get asked(): Asked {
    const { form } = this;
    return form.model === '' ? { ...form, model: this.told.namespace?.model ?? '' } : form;
  }

  get line(): string {
    return magicLine(this.asked);
  }

  get advice(): string {
    return adviceLine(this.asked);
  }

  get faults(): Partial<Record<keyof Asked, string>> {
    const { asked, told } = this;
    const misfits = told.misfits?.models.find(each => each.model === asked.model)?.patterns ?? [];
    const pattern = asked.pattern.trim();
    const misfit = misfits.includes(pattern) ? `No layer of ${asked.model} can hold ${pattern}.` : undefined;
    return { ...(misfit === undefined ? {} : { pattern: misfit }), ...faults(asked) };
  }

  get canInsert(): boolean {
    return this.notebook !== null && Object.keys(this.faults).length === 0;
  }

  /** Why the line cannot be run now; null if it can, or if the kernel has not said what it holds. */
  get obstacle(): string | null {
    const { namespace } = this.told;
    const [fault] = Object.values(this.faults);
    if (fault !== undefined || namespace === null) {
      return fault ?? null;
    }
    if (this.asked.model === '') {
      return namespace.models.length === 0
        ? 'There is no model yet: run the cell that makes one.'
        : 'Choose the model to prune.';
    }
    return this.asked.input === '' && namespace.input === null
      ? 'Choose the example input, a tensor that the model takes.'
      : null;
  }

  get canRun(): boolean {
    return this.canInsert && this.obstacle === null;
  }

  private get watch(): NotebookWatch | null {
    return this.runs?.watch ?? null;
  }

  private get form(): Asked {
    return (this.notebook && this.forms.get(this.notebook)) ?? this.defaults;
  }

  // What the user does.

  set(change: Partial<Asked>): void {
    if (this.notebook !== null) {
      this.forms.set(this.notebook, { ...this.form, ...change });
      this.watch?.dismiss(); // the last run did not answer what the form asks for now
      this.changed.emit();
    }
  }

  /** Set the initial form of a notebook. */
  setDefaults(defaults: Asked): void {
    this.defaults = defaults;
    this.changed.emit();
  }

  /** Insert a line as a cell below the active one, by default the form's own, and run that cell if wanted. */
  async insert(run: boolean, line = this.line): Promise<void> {
    const { notebook } = this;
    if (notebook === null || !(run ? this.canRun : this.canInsert)) {
      return;
    }
    const loaded = this.told.namespace?.loaded ?? isLoadedBy(notebook.content);
    const cell = insertBelow(notebook.content, loaded ? line : `%load_ext jupyter_hwprune\n${line}`);
    if (run && cell !== null) {
      await runCell(notebook, cell);
    }
  }

  /** Interrupt the kernel, which ends the run's worker as well; of a confirmation only that, and the run goes on. */
  async cancel(): Promise<void> {
    const kernel = this.notebook?.sessionContext.session?.kernel;
    if (!kernel) {
      return;
    }
    this.cancelling = true;
    this.cancelledIn = this.course?.progress.phase ?? null;
    this.changed.emit();
    try {
      await kernel.interrupt();
    } catch {
      this.cancelling = false; // the server refused; the run goes on, so the button stays
      this.changed.emit();
    }
  }

  show(cellId: string): void {
    if (this.notebook !== null) {
      scrollTo(this.notebook, cellId);
    }
  }

  showRun(run: Run): void {
    if (this.runs !== null) {
      this.tabs.show(this.runs, run);
    }
  }

  pick(id: string, picked: boolean): void {
    this.runs?.pick(id, picked);
  }

  /** Show the chosen runs side by side; by default those of the current notebook. */
  compare(path = this.runs?.path): void {
    if (path !== undefined) {
      this.tabs.compare(path);
    }
  }

  toggle(section: Section): void {
    if (!this.open.delete(section)) {
      this.open.add(section);
    }
    this.changed.emit();
  }

  want(section: Section): void {
    this.open.add(section);
    this.wanted = section;
    this.changed.emit();
  }

  // Events from elsewhere.

  private readonly follow = (): void => {
    const current = this.tracker.currentWidget;
    if (current === this.notebook) {
      return;
    }
    this.runs?.changed.disconnect(this.onWatched);
    this.runs = current === null ? null : this.allRuns.of(current);
    this.runs?.changed.connect(this.onWatched);
    this.notebook = current;
    this.cancelling = this.wasBusy = false;
    this.told.follow(current);
    this.changed.emit();
  };

  private readonly onTold = (): void => {
    this.changed.emit();
  };

  private readonly onWatched = (): void => {
    if (this.course?.lives !== true || this.course.progress.phase !== this.cancelledIn) {
      this.cancelling = false;
    }
    if (this.wasBusy && !this.busy) {
      this.told.askSoon();
    }
    this.wasBusy = this.busy;
    this.changed.emit();
  };

  private readonly onScheduled = (_: unknown, { notebook }: { notebook: unknown }): void => {
    if (notebook === this.notebook?.content) {
      this.watch?.dismiss();
    }
  };

  private readonly onExecuted = (_: unknown, { notebook }: { notebook: unknown }): void => {
    if (notebook === this.notebook?.content && !this.busy) {
      this.told.askSoon();
    }
  };
}
