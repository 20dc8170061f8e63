/** Insert, run and show cells of a notebook: always a given cell, whatever is selected meanwhile. */
import type { Cell } from '@jupyterlab/cells';
import { type Notebook, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';

const LOADS = /^\s*%(load|reload)_ext\s+jupyter_hwprune\b/m;

/** Whether the source of some cell loads the magics. */
export function isLoadedBy(notebook: Notebook): boolean {
  return notebook.widgets.some(cell => cell.model.type === 'code' && LOADS.test(cell.model.sharedModel.source));
}

/** Insert a code cell below the active one, make it active, and return it; null if the notebook is closed. */
export function insertBelow(notebook: Notebook, source: string): Cell | null {
  const cells = notebook.model?.sharedModel;
  if (cells === undefined) {
    return null;
  }
  const index = Math.min(notebook.activeCellIndex + 1, cells.cells.length);
  const { id } = cells.insertCell(index, { cell_type: 'code', source, metadata: { trusted: true } });
  return activate(notebook, id);
}

export async function runCell({ content, sessionContext }: NotebookPanel, cell: Cell): Promise<void> {
  await NotebookActions.runCells(content, [cell], sessionContext);
}

/** Show a cell, and make it the active one. */
export function scrollTo(panel: NotebookPanel, cellId: string): void {
  const cell = activate(panel.content, cellId);
  if (cell !== null) {
    void panel.content.scrollToCell(cell, 'start');
  }
}

function activate(notebook: Notebook, id: string): Cell | null {
  const index = notebook.widgets.findIndex(cell => cell.model.id === id);
  const cell = notebook.widgets[index];
  if (cell === undefined) {
    return null;
  }
  notebook.deselectAll();
  notebook.mode = 'command';
  notebook.activeCellIndex = index;
  void notebook.scrollToItem(index);
  return cell;
}
