/** The tab that compares a notebook's runs, and the tabs that show a run whose output has gone. */
import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { INotebookTracker } from '@jupyterlab/notebook';
import { Widget } from '@lumino/widgets';

import { scrollTo } from '../panel/cells';
import { pruneIcon } from '../panel/icon';
import { reportView } from '../view/report_view';
import { middleCut, text, wordsOf } from '../view/words';
import type { AllRuns, NotebookRuns, Run } from './runs';
import { ComparisonTab } from './tab';

const COMPARE = 'hwprune:compare';
const LONGEST_TITLE = 40;

/** Opens tabs, at most one for a notebook or a run. */
export class RunTabs {
  private readonly tabs = new WidgetTracker<MainAreaWidget<ComparisonTab>>({ namespace: 'hwprune-comparison' });
  private made = 0;

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly allRuns: AllRuns,
    tracker: INotebookTracker,
    restorer: ILayoutRestorer | null
  ) {
    void restorer?.restore(this.tabs, {
      command: COMPARE,
      args: ({ content }) => ({ path: content.path }),
      name: ({ content }) => content.path,
    });
    tracker.widgetAdded.connect((_, notebook) => {
      notebook.disposed.connect(this.look);
      void notebook.context.ready.then(this.look);
    });
  }

  /** Show the runs of the notebook at a path side by side. */
  compare(path: string): void {
    const known = this.tabs.find(({ content }) => content.path === path);
    if (known !== undefined) {
      this.allRuns.at(path)?.follow();
      this.app.shell.activateById(known.id);
      return;
    }
    const content = new ComparisonTab(path, {
      runs: at => this.allRuns.at(at),
      open: at => {
        void this.app.commands.execute('docmanager:open', { path: at });
      },
      show: this.show,
    });
    const tab = new MainAreaWidget({ content });
    this.add(tab, 'comparison');
    void this.tabs.add(tab);
    content.moved.connect(() => {
      void this.tabs.save(tab);
    });
  }

  /** Show a run's cell, or what is kept of it where its output has gone. */
  readonly show = ({ notebook }: NotebookRuns, { cellId, report }: Run): void => {
    if (cellId !== null) {
      this.app.shell.activateById(notebook.id);
      scrollTo(notebook, cellId);
      return;
    }
    const content = new Widget();
    content.addClass('hwprune-output');
    content.addClass('jp-hwprune-tab');
    content.title.icon = pruneIcon;
    content.title.label = middleCut(text(wordsOf(report).title), LONGEST_TITLE);
    content.node.append(reportView({ report, notes: [] }));
    this.add(new MainAreaWidget({ content }), 'run');
  };

  private add(tab: MainAreaWidget, kind: string): void {
    this.made += 1;
    tab.id = `hwprune-${kind}-${this.made}`;
    this.app.shell.add(tab, 'main', { mode: 'tab-after' });
    if (!tab.isAttached) {
      tab.addClass('jp-hwprune-below');
      this.app.shell.add(tab, 'down'); // Notebook 7 has room for one document in its main area
    }
    this.app.shell.activateById(tab.id);
  }

  private readonly look = (): void => {
    this.tabs.forEach(({ content }) => {
      content.find();
    });
  };
}
