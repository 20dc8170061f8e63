/** A notebook's runs: those in its outputs, and those that it keeps in its metadata. */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { NotebookWatch } from '../panel/watch';
import type { Report } from '../report';
import type { Seen } from '../view/reading';
import { landed } from './landing';
import { type Book, type Kept, METADATA, keyOf, readBook, written } from './record';

const MOST_AT_ONCE = 8; // are compared where nobody has chosen

export interface Run {
  id: string;
  report: Seen<Report>;
  /** The cell that shows it, null if its output has gone. */
  cellId: string | null;
}

export class NotebookRuns implements IDisposable {
  readonly changed = new Signal<this, void>(this);
  readonly watch: NotebookWatch;
  /** Newest first. */
  runs: Run[] = [];
  /** Whether runs that end from now on are compared too. */
  following = false;
  private readonly picked = new Set<string>();
  private readonly ids = new Set<string>();
  private book: Book = { kept: [], dropped: 0 };
  private readonly written = new Set<string>();
  /** What was in an output since the notebook was opened, and is not written down. */
  private waiting: Kept[] = [];
  private isReady = false;

  constructor(
    readonly notebook: NotebookPanel,
    private readonly keeps: () => boolean
  ) {
    this.watch = new NotebookWatch(notebook);
    this.watch.changed.connect(this.look);
    notebook.disposed.connect(() => {
      this.dispose();
    });
    void notebook.context.ready.then(() => {
      this.readBook();
      this.watch.scan();
      this.look();
      this.isReady = true; // what was there when the notebook was opened changes nothing in it
    });
  }

  get isDisposed(): boolean {
    return this.watch.isDisposed;
  }

  dispose(): void {
    this.watch.dispose();
    Signal.clearData(this);
  }

  get path(): string {
    return this.notebook.context.path;
  }

  /** How many older runs the notebook no longer keeps. */
  get dropped(): number {
    return this.book.dropped;
  }

  /** Whether there are runs that only the metadata has. */
  get hasKept(): boolean {
    return this.book.kept.length > 0;
  }

  /** The runs chosen for comparison. */
  get chosen(): Run[] {
    return this.runs.filter(each => this.picked.has(each.id));
  }

  pick(id: string, picked: boolean): void {
    if (picked) {
      this.picked.add(id);
    } else {
      this.picked.delete(id);
    }
    this.changed.emit();
  }

  /** Compare the chosen runs, the newest if fewer than two are chosen, and each that ends from now on. */
  follow(): void {
    if (this.chosen.length < 2) {
      this.runs.slice(0, MOST_AT_ONCE).forEach(each => this.picked.add(each.id));
    }
    this.following = true;
    this.changed.emit();
  }

  /** Forget the kept runs; those in outputs stay there. */
  forget(): void {
    this.notebook.model?.deleteMetadata(METADATA);
    this.book = { kept: [], dropped: 0 };
    this.look();
  }

  private readonly look = (): void => {
    if (this.isDisposed) {
      return;
    }
    const found = this.watch.reports;
    this.waiting = unique([...found, ...this.waiting]).filter(({ report }) => !this.written.has(keyOf(report)));
    const fresh = this.isReady ? this.waiting.find(({ report }) => !this.ids.has(keyOf(report))) : undefined;
    if (fresh !== undefined) {
      this.keep();
      void landed(this.notebook, fresh.cellId);
    }
    const places = new Map(found.map(({ report, cellId }) => [keyOf(report), cellId]));
    this.runs = unique([...found, ...this.waiting, ...this.book.kept])
      .map(({ report }) => ({ id: keyOf(report), report, cellId: places.get(keyOf(report)) ?? null }))
      .sort((a, b) => (b.report.created ?? '').localeCompare(a.report.created ?? ''));
    for (const { id } of this.runs) {
      if (this.following && !this.ids.has(id)) {
        this.picked.add(id);
      }
      this.ids.add(id);
    }
    this.changed.emit();
  };

  /** Write down a run that has just ended, and with it those that were in outputs before. */
  private keep(): void {
    const { model } = this.notebook;
    if (model === null || model.readOnly || !this.keeps()) {
      return;
    }
    const kept = unique([...this.waiting, ...this.book.kept]);
    const data = written({ kept, dropped: this.book.dropped });
    this.waiting.forEach(({ report }) => this.written.add(keyOf(report)));
    this.waiting = [];
    this.book = readBook(data);
    model.setMetadata(METADATA, data);
  }

  private readBook(): void {
    this.book = readBook(this.notebook.model?.getMetadata(METADATA));
    this.book.kept.forEach(({ report }) => this.written.add(keyOf(report)));
  }
}

/** The runs of every open notebook. */
export class AllRuns {
  /** Whether notebooks keep their runs, as the settings say. */
  keeps = true;
  private readonly known = new Map<NotebookPanel, NotebookRuns>();

  constructor(private readonly tracker: INotebookTracker) {
    tracker.forEach(notebook => this.of(notebook));
    tracker.widgetAdded.connect((_, notebook) => this.of(notebook));
  }

  of(notebook: NotebookPanel): NotebookRuns {
    const known = this.known.get(notebook);
    if (known !== undefined) {
      return known;
    }
    const made = new NotebookRuns(notebook, () => this.keeps);
    this.known.set(notebook, made);
    notebook.disposed.connect(() => this.known.delete(notebook));
    return made;
  }

  /** The runs of the notebook at a path, null while that is not open. */
  at(path: string): NotebookRuns | null {
    const notebook = this.tracker.find(each => each.context.path === path);
    return notebook === undefined ? null : this.of(notebook);
  }
}

/** The first of each run. */
function unique(kept: Kept[]): Kept[] {
  const first = new Map<string, Kept>();
  for (const { cellId, report } of kept) {
    const key = keyOf(report);
    if (!first.has(key)) {
      first.set(key, { cellId, report });
    }
  }
  return [...first.values()];
}
