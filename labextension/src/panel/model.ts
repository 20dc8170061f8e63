/** What the panel knows and does, apart from how it looks: the current notebook, its kernel, its form and its runs. */
import type { ISessionContext } from '@jupyterlab/apputils';
import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { Choices, Machine, Namespace } from './answers';
import { insertBelow, isLoadedBy, runCell, scrollTo } from './cells';
import { AskedKernel, type Silence } from './kernel';
import { type Asked, DEFAULTS, faults, magicLine } from './line';
import { type Course, type Found, NotebookWatch } from './watch';

/** Why the panel cannot ask. */
export type Hindrance = Silence | { why: 'no notebook' } | { why: 'no kernel' } | { why: 'starting' };
export type Section = 'model' | 'target' | 'options' | 'runs' | 'targets' | 'doctor';

const ASK_AFTER_MS = 200;

export class PanelModel implements IDisposable {
  readonly changed = new Signal<this, void>(this);
  /** The sections that stand open, and the one that a command wants to be seen. */
  readonly open = new Set<Section>(['model', 'target', 'options', 'runs']);
  wanted: Section | null = null;
  notebook: NotebookPanel | null = null;
  hindrance: Hindrance | null = { why: 'no notebook' };
  namespace: Namespace | null = null;
  choices: Choices | null = null; // of whatever kernel told them last: they are the package's own
  /** What each kind of kernel has said of this machine. */
  private readonly machines = new Map<string, Machine>();
  asking = false;
  askingMachine = false;
  cancelling = false;
  comparing = false;
  private watch: NotebookWatch | null = null;
  private kernel: AskedKernel | null = null;
  private readonly forms = new WeakMap<NotebookPanel, Asked>();
  private readonly picked = new Set<string>();
  private wasBusy = false;
  private shown = false;
  private defaults: Asked = DEFAULTS;
  private timer: number | undefined;
  private disposed = false;

  constructor(private readonly tracker: INotebookTracker) {
    tracker.currentChanged.connect(this.follow);
    NotebookActions.executed.connect(this.onExecuted);
    this.follow();
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    this.tracker.currentChanged.disconnect(this.follow);
    NotebookActions.executed.disconnect(this.onExecuted);
    this.leave();
    window.clearTimeout(this.timer);
    Signal.clearData(this);
  }

  // What is shown.

  get reports(): Found[] {
    return [...(this.watch?.reports ?? [])].sort((a, b) =>
      (b.report.created ?? '').localeCompare(a.report.created ?? '')
    );
  }

  get course(): Course | null {
    return this.watch?.course ?? null;
  }

  get machine(): Machine | null {
    const { session } = this;
    return this.machines.get(session?.session?.kernel?.name ?? session?.kernelPreference.name ?? '') ?? null;
  }

  get busy(): boolean {
    return this.watch?.busy ?? false;
  }

  /** The form as it stands, with the model that `%hwprune` would take by itself where none is chosen. */
  get asked(): Asked {
    const form = (this.notebook && this.forms.get(this.notebook)) ?? this.defaults;
    return form.model === '' ? { ...form, model: this.namespace?.model ?? '' } : form;
  }

  get line(): string {
    return magicLine(this.asked);
  }

  get faults(): Partial<Record<keyof Asked, string>> {
    return faults(this.asked);
  }

  get canInsert(): boolean {
    return this.notebook !== null && Object.keys(this.faults).length === 0;
  }

  get chosen(): Found[] {
    return this.reports.filter(each => this.picked.has(each.id));
  }

  // What the user does.

  set(change: Partial<Asked>): void {
    if (this.notebook !== null) {
      this.forms.set(this.notebook, { ...(this.forms.get(this.notebook) ?? this.defaults), ...change });
      this.changed.emit();
    }
  }

  /** Write the line as a cell below the active one, and run that very cell if wanted. */
  async insert(run: boolean): Promise<void> {
    const { notebook } = this;
    if (notebook === null || !this.canInsert) {
      return;
    }
    const loaded = this.namespace?.loaded ?? isLoadedBy(notebook.content);
    const source = loaded ? this.line : `%load_ext jupyter_hwprune\n${this.line}`;
    const cell = insertBelow(notebook.content, source);
    if (run && cell !== null) {
      await runCell(notebook, cell);
    }
  }

  /** Interrupt the kernel, which ends the run's worker as well. */
  async cancel(): Promise<void> {
    const kernel = this.session?.session?.kernel;
    if (!kernel) {
      return;
    }
    this.cancelling = true;
    this.changed.emit();
    try {
      await kernel.interrupt();
    } catch {
      this.cancelling = false; // the server has refused; the run goes on, and so does its button
      this.changed.emit();
    }
  }

  show(cellId: string): void {
    if (this.notebook !== null) {
      scrollTo(this.notebook, cellId);
    }
  }

  pick(id: string, picked: boolean): void {
    if (picked) {
      this.picked.add(id);
    } else {
      this.picked.delete(id);
    }
    this.compare(this.comparing);
  }

  /** Set the chosen runs side by side, where two or more are chosen. */
  compare(wanted: boolean): void {
    this.comparing = wanted && this.chosen.length > 1;
    this.changed.emit();
  }

  /** Set all runs side by side. */
  compareAll(): void {
    this.open.add('runs');
    this.reports.forEach(each => this.picked.add(each.id));
    this.compare(true);
    this.want('runs');
  }

  /** What the form of a notebook begins with. */
  setDefaults(defaults: Asked): void {
    this.defaults = defaults;
    this.changed.emit();
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

  /** Only a panel that can be seen asks. */
  set visible(value: boolean) {
    this.shown = value;
    if (value) {
      void this.ask();
    }
  }

  // What the kernel is asked.

  /** Ask for what is in the namespace, and once for the choices. */
  async ask(): Promise<void> {
    const kernel = this.shown ? this.askable() : null;
    if (kernel === null || this.asking) {
      this.changed.emit();
      return;
    }
    this.asking = true;
    this.changed.emit();
    const choices = this.choices ?? (await kernel.ask('choices'));
    const namespace = 'why' in choices ? choices : await kernel.ask('namespace');
    this.asking = false;
    if (kernel !== this.kernel) {
      void this.ask(); // another notebook has become the current one meanwhile
      return;
    }
    this.choices = 'why' in choices ? this.choices : choices;
    this.hindrance = 'why' in namespace ? namespace : null;
    this.namespace = 'why' in namespace ? (this.hindrance?.why === 'busy' ? this.namespace : null) : namespace;
    this.changed.emit();
    if (this.hindrance === null && this.machine === null && kernel.answersWhileBusy && !this.busy) {
      await this.askMachine();
    }
  }

  /** Ask what can be measured here: each toolchain is started for it, which takes seconds, and would disturb a run. */
  async askMachine(): Promise<void> {
    const kernel = this.askable();
    if (kernel === null || this.askingMachine) {
      return;
    }
    this.askingMachine = true;
    this.changed.emit();
    const machine = await kernel.ask('machine');
    this.askingMachine = false;
    if ('why' in machine) {
      this.hindrance = kernel === this.kernel ? machine : this.hindrance;
    } else {
      this.machines.set(kernel.connection.name, machine);
    }
    this.changed.emit();
  }

  /** The kernel of the current notebook, or null, and why not. */
  private askable(): AskedKernel | null {
    const { session } = this;
    const connection = session?.session?.kernel;
    if (!session || !connection) {
      const starts = session !== null && !session.isReady && !session.hasNoKernel;
      this.hindrance = session === null ? { why: 'no notebook' } : starts ? { why: 'starting' } : { why: 'no kernel' };
      return null;
    }
    if (['starting', 'restarting', 'autorestarting', 'unknown'].includes(connection.status)) {
      this.hindrance = { why: 'starting' };
      return null;
    }
    if (this.kernel?.connection !== connection) {
      this.kernel?.dispose();
      this.kernel = new AskedKernel(connection, () => this.busy || connection.status === 'busy');
    }
    return this.kernel;
  }

  private get session(): ISessionContext | null {
    return this.notebook?.sessionContext ?? null;
  }

  // What happens elsewhere.

  private readonly follow = (): void => {
    const current = this.tracker.currentWidget;
    if (current === this.notebook) {
      return;
    }
    this.leave();
    if (current !== null) {
      this.notebook = current;
      this.watch = new NotebookWatch(current);
      this.watch.changed.connect(this.onWatched);
      current.sessionContext.kernelChanged.connect(this.onKernelChanged);
      current.sessionContext.statusChanged.connect(this.onStatus);
    }
    this.askSoon();
  };

  private leave(): void {
    this.notebook?.sessionContext.kernelChanged.disconnect(this.onKernelChanged);
    this.notebook?.sessionContext.statusChanged.disconnect(this.onStatus);
    this.watch?.dispose();
    this.notebook = this.watch = null;
    this.picked.clear();
    this.comparing = false;
    this.forget();
  }

  /** What an ended kernel has said is true no more. */
  private forget(): void {
    this.kernel?.dispose();
    this.kernel = this.namespace = null;
    this.cancelling = false;
  }

  private readonly onKernelChanged = (): void => {
    this.forget();
    this.askSoon();
  };

  private readonly onStatus = (_: unknown, status: string): void => {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this.onKernelChanged();
    } else if (status === 'idle' && (this.hindrance?.why === 'busy' || this.hindrance?.why === 'starting')) {
      this.askSoon();
    }
  };

  private readonly onWatched = (): void => {
    if (this.course?.lives !== true) {
      this.cancelling = false;
    }
    if (this.wasBusy && !this.busy) {
      this.askSoon();
    }
    this.wasBusy = this.busy;
    this.changed.emit();
  };

  private readonly onExecuted = (_: unknown, { notebook }: { notebook: unknown }): void => {
    if (notebook === this.notebook?.content && !this.busy) {
      this.askSoon();
    }
  };

  private askSoon(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.ask(), ASK_AFTER_MS);
    this.changed.emit();
  }
}
