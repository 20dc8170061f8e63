/** Save a report of the notebook as a `.hwprune.json` file. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';

import { read } from '../view/reading';
import { REPORT_TYPE } from '../view/renderer';
import { text } from '../view/words';
import { saveNew } from './files';
import { CATEGORY } from './plugin';
import { isCode, outputsOf } from './watch';

const COMMAND = 'hwprune:export-report';
const EXTENSION = '.hwprune.json';

export const exporter: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-hwprune:export',
  description: 'Saves the report of the selected cell as a file.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker, palette: ICommandPalette | null) => {
    app.commands.addCommand(COMMAND, {
      label: `Export the Report as ${EXTENSION}`,
      caption: 'Save the report of the selected cell beside the notebook',
      isVisible: () => reportData(tracker) !== null,
      isEnabled: () => reportData(tracker) !== null,
      execute: () => exportReport(app, tracker),
      describedBy: { args: { type: 'object', properties: {} } },
    });
    palette?.addItem({ command: COMMAND, category: CATEGORY });
  },
};

async function exportReport(app: JupyterFrontEnd, tracker: INotebookTracker): Promise<void> {
  const data = reportData(tracker);
  const notebook = tracker.currentWidget;
  if (data === null || notebook === null) {
    return;
  }
  try {
    const path = await saveNew(app.serviceManager.contents, folderOf(notebook), nameFor(notebook, data), EXTENSION, {
      type: 'file',
      format: 'text',
      content: JSON.stringify(data),
    });
    Notification.success(`The report was saved as ${path}`, {
      autoClose: 8000,
      actions: [
        {
          label: 'Open',
          callback: () => {
            void app.commands.execute('docmanager:open', { path });
          },
        },
      ],
    });
  } catch (error) {
    Notification.error(`The report could not be saved: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The data of the active cell's last report, null if it has none. */
function reportData(tracker: INotebookTracker): unknown {
  const cell = tracker.activeCell?.model;
  const outputs = cell && isCode(cell) ? outputsOf(cell) : [];
  return (
    outputs
      .map(output => output.data[REPORT_TYPE] ?? null)
      .filter(data => data !== null)
      .at(-1) ?? null
  );
}

function folderOf(notebook: NotebookPanel): string {
  return PathExt.dirname(notebook.context.path);
}

/** The notebook, the model and the target, in characters that every file system accepts. */
function nameFor(notebook: NotebookPanel, data: unknown): string {
  const reading = read(data);
  const request = typeof reading === 'string' ? null : reading.report.request;
  const stem = PathExt.basename(notebook.context.path, '.ipynb');
  const words = [stem, text(request?.model ?? null), text(request?.target ?? null)];
  return words.map(word => word.replace(/[^\w.-]+/g, '_').slice(0, 60)).join('-');
}
