/** What the panel knows from the notebook's kernel: its namespace, the choices, and what can be measured here. */
import type { ISessionContext } from '@jupyterlab/apputils';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { Choices, Machine, Misfits, Namespace } from './answers';
import { isLoadedBy } from './cells';
import { AskedKernel, type Silence } from './kernel';

/** Why the panel cannot ask the kernel. */
export type Hindrance = Silence | { why: 'no notebook' } | { why: 'no kernel' } | { why: 'starting' };

const ASK_AFTER_MS = 200;

export class Knowledge implements IDisposable {
  readonly changed = new Signal<this, void>(this);
  hindrance: Hindrance | null = { why: 'no notebook' };
  namespace: Namespace | null = null;
  misfits: Misfits | null = null;
  choices: Choices | null = null; // from any kernel: they are the same for all
  asking = false;
  askingMachine = false;
  private readonly machines = new Map<string, Machine>(); // by the kernel's name
  private notebook: NotebookPanel | null = null;
  private kernel: AskedKernel | null = null;
  private turn = 0;
  private shown = false;
  private timer: number | undefined;
  private disposed = false;

  /** @param isBusy whether a cell of the notebook runs */
  constructor(private readonly isBusy: () => boolean) {}

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.follow(null);
    this.disposed = true;
    window.clearTimeout(this.timer);
    Signal.clearData(this);
  }

  get machine(): Machine | null {
    const { session } = this;
    return this.machines.get(session?.session?.kernel?.name ?? session?.kernelPreference.name ?? '') ?? null;
  }

  /** The panel asks only while it is visible. */
  set visible(value: boolean) {
    this.shown = value;
    if (value) {
      void this.ask();
    }
  }

  follow(notebook: NotebookPanel | null): void {
    this.session?.kernelChanged.disconnect(this.onKernelChanged);
    this.session?.statusChanged.disconnect(this.onStatus);
    this.notebook = notebook;
    this.hindrance = notebook === null ? { why: 'no notebook' } : null;
    this.session?.kernelChanged.connect(this.onKernelChanged);
    this.session?.statusChanged.connect(this.onStatus);
    this.onKernelChanged();
  }

  askSoon(): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.ask(), ASK_AFTER_MS);
  }

  /** Ask for the namespace, and once for the choices; a later question cancels an earlier one. */
  async ask(): Promise<void> {
    this.turn += 1;
    const { turn } = this;
    const kernel = this.shown ? this.askable() : null;
    this.asking = kernel !== null;
    this.changed.emit();
    if (kernel === null) {
      return;
    }
    const choices = this.choices ?? (await kernel.ask('choices'));
    const namespace = 'why' in choices ? choices : await kernel.ask('namespace');
    if (turn !== this.turn || this.disposed) {
      return;
    }
    this.asking = false;
    this.choices = 'why' in choices ? this.choices : choices;
    if ('why' in namespace) {
      this.hindrance = namespace;
      this.namespace = namespace.why === 'busy' ? this.namespace : null; // until there is a newer answer
    } else {
      this.hindrance = null;
      this.namespace = namespace;
    }
    this.changed.emit();
    if (this.hindrance?.why === 'busy' && kernel.connection.status === 'idle' && !this.isBusy()) {
      this.askSoon(); // it became free while it was asked, so no change of its status follows
    }
    if (this.hindrance === null && (this.namespace?.models.length ?? 0) > 0) {
      await this.askMisfits(kernel, turn);
    }
    if (this.hindrance === null && this.machine === null && kernel.answersWhileBusy && !this.isBusy()) {
      await this.askMachine();
    }
  }

  /** Ask which patterns no layer can hold; the panel works without the answer. */
  private async askMisfits(kernel: AskedKernel, turn: number): Promise<void> {
    const misfits = await kernel.ask('misfits');
    if (turn === this.turn && !this.disposed) {
      this.misfits = 'why' in misfits ? null : misfits;
      this.changed.emit();
    }
  }

  /** Ask what can be measured here; this starts each toolchain, takes seconds, and would disturb a run. */
  async askMachine(): Promise<void> {
    const kernel = this.askable();
    if (kernel === null || this.askingMachine) {
      return;
    }
    this.askingMachine = true;
    this.changed.emit();
    const machine = await kernel.ask('machine');
    this.askingMachine = false;
    if (!('why' in machine)) {
      this.machines.set(kernel.connection.name, machine);
    } else if (kernel === this.kernel) {
      this.hindrance = machine;
    }
    this.changed.emit();
  }

  /** The kernel of the notebook; null sets the hindrance. */
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
      this.kernel = new AskedKernel(
        connection,
        () => this.isBusy() || connection.status === 'busy',
        () => this.isBusy() && this.notebook !== null && isLoadedBy(this.notebook.content)
      );
    }
    return this.kernel;
  }

  private get session(): ISessionContext | null {
    return this.notebook?.sessionContext ?? null;
  }

  /** Forget what an ended kernel has said. */
  private readonly onKernelChanged = (): void => {
    this.turn += 1;
    this.asking = false;
    this.kernel?.dispose();
    this.kernel = this.namespace = this.misfits = null;
    this.askSoon();
  };

  private readonly onStatus = (_: unknown, status: string): void => {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this.onKernelChanged();
    } else if (status === 'idle' && (this.hindrance?.why === 'busy' || this.hindrance?.why === 'starting')) {
      this.askSoon();
    }
  };
}
