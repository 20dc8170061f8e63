/** Watch a notebook's outputs for its reports and the progress of a run. No kernel is needed. */
import type { ICodeCellModel, ICellModel } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import { PROGRESS_TYPE } from '../progress/renderer';
import type { Report } from '../report';
import { type Seen, read } from '../view/reading';
import { REPORT_TYPE } from '../view/renderer';
import { checked } from './answer';
import type { Progress } from './answers';

const SCAN_EVERY_MS = 100;

const ENDS = ['dead', 'terminating', 'restarting', 'autorestarting'];

type Output = ReturnType<ICodeCellModel['outputs']['get']>;

/** A report in an output; `id` says in which. */
export interface Found {
  id: string;
  cellId: string;
  report: Seen<Report>;
}

/** A run's latest progress; `heardAt` is this page's clock when it came, `lives` whether its cell still runs. */
export interface Course {
  cellId: string;
  progress: Progress;
  heardAt: number;
  lives: boolean;
}

interface Content {
  report: Seen<Report> | null;
  progress: Progress | null;
  heardAt: number;
}

const NOTHING: Content = { report: null, progress: null, heardAt: 0 };

export class NotebookWatch implements IDisposable {
  readonly changed = new Signal<this, void>(this);
  /** In notebook order. */
  reports: Found[] = [];
  /** The current run, or the last one since the panel was opened. */
  course: Course | null = null;
  /** Whether a cell was running or waiting at the last look. */
  busy = false;
  private readonly contents = new WeakMap<Output, Content>(); // a changed output is a new object
  private timer: number | null = null;
  private disposed = false;

  constructor(private readonly notebook: NotebookPanel) {
    notebook.content.modelContentChanged.connect(this.later);
    notebook.sessionContext.statusChanged.connect(this.later);
    void notebook.context.ready.then(this.later);
    this.scan();
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    this.disposed = true;
    this.notebook.content.modelContentChanged.disconnect(this.later);
    this.notebook.sessionContext.statusChanged.disconnect(this.later);
    window.clearTimeout(this.timer ?? undefined);
    Signal.clearData(this);
  }

  /** Whether a cell is running or waiting now; the kernel may not have it yet. */
  get isRunning(): boolean {
    return this.cells.some(runs);
  }

  private get cells(): ICodeCellModel[] {
    return Array.from(this.notebook.model?.cells ?? []).filter(isCode);
  }

  private readonly later = (): void => {
    if (this.timer === null && !this.disposed) {
      this.timer = window.setTimeout(() => {
        this.timer = null;
        this.scan();
      }, SCAN_EVERY_MS);
    }
  };

  /** Forget how the last run ended. */
  dismiss(): void {
    if (this.course?.lives === false) {
      this.course = null;
      this.changed.emit();
    }
  }

  scan(): void {
    const { cells } = this;
    const ended = ENDS.includes(this.notebook.sessionContext.kernelDisplayStatus);
    const running = ended ? [] : cells.filter(runs);
    const goesOn = running.map(cell => this.courseOf(cell, true)).find(course => course?.progress.state === 'running');
    const before = { reports: this.reports, course: this.course, busy: this.busy };
    this.busy = running.length > 0;
    this.reports = cells.flatMap(cell => this.reportsOf(cell));
    this.course = goesOn ?? this.ended(cells);
    if (!isSame(before, this)) {
      this.changed.emit();
    }
  }

  private reportsOf(cell: ICodeCellModel): Found[] {
    return outputsOf(cell).flatMap((output, index) => {
      const { report } = this.contentOf(output);
      return report === null ? [] : [{ id: `${cell.id}/${index}`, cellId: cell.id, report }];
    });
  }

  private courseOf(cell: ICodeCellModel, lives: boolean): Course | null {
    const contents = outputsOf(cell).map(output => this.contentOf(output));
    const last = contents.filter(content => content.progress !== null).at(-1);
    return last?.progress ? { cellId: cell.id, progress: last.progress, heardAt: last.heardAt, lives } : null;
  }

  /** How the last running run ended, for as long as its cell shows it. */
  private ended(cells: ICodeCellModel[]): Course | null {
    const cell = cells.find(each => each.id === this.course?.cellId);
    return cell === undefined ? null : this.courseOf(cell, false);
  }

  private contentOf(output: Output): Content {
    if (output.type !== 'display_data' && output.type !== 'execute_result' && output.type !== 'update_display_data') {
      return NOTHING;
    }
    const known = this.contents.get(output);
    if (known !== undefined) {
      return known;
    }
    const { [REPORT_TYPE]: report, [PROGRESS_TYPE]: progress } = output.data;
    const reading = report === undefined ? null : read(report);
    const content: Content = {
      report: reading === null || typeof reading === 'string' ? null : reading.report,
      progress: progress === undefined ? null : checked('progress', progress),
      heardAt: Date.now(),
    };
    this.contents.set(output, content);
    return content;
  }
}

type State = Pick<NotebookWatch, 'reports' | 'course' | 'busy'>;

/** An output is read only once, so equal objects mean equal content. */
function isSame(a: State, b: State): boolean {
  return (
    a.busy === b.busy &&
    a.course?.progress === b.course?.progress &&
    a.course?.lives === b.course?.lives &&
    a.reports.length === b.reports.length &&
    a.reports.every(({ id, report }, index) => id === b.reports[index]?.id && report === b.reports[index].report)
  );
}

export function isCode(cell: ICellModel): cell is ICodeCellModel {
  return cell.type === 'code';
}

function runs(cell: ICodeCellModel): boolean {
  return cell.executionState === 'running';
}

export function outputsOf(cell: ICodeCellModel): Output[] {
  return Array.from({ length: cell.outputs.length }, (_, index) => cell.outputs.get(index));
}
