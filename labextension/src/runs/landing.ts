/** A report that has just come is seen from its verdict on: the browser keeps the focused cell below it in its place. */
import type { NotebookPanel } from '@jupyterlab/notebook';

const MARGIN = 8;

/** Scroll a notebook as little as shows a cell's last report, or its upper part where the rest has no room. */
export async function landed({ content: notebook }: NotebookPanel, cellId: string): Promise<void> {
  await drawn();
  const cell = notebook.widgets.find(each => each.model.id === cellId);
  const report = [...(cell?.node.querySelectorAll('.hwprune-report') ?? [])].at(-1);
  const active = notebook.activeCell;
  const isTyping = notebook.mode === 'edit' && active !== cell && active?.model.sharedModel.source !== '';
  if (report === undefined || isTyping) {
    return;
  }
  const [shown, view] = [report.getBoundingClientRect(), notebook.outerNode.getBoundingClientRect()];
  const isInSight = shown.bottom > view.top && shown.top < view.bottom;
  const above = shown.top - MARGIN - view.top; // below 0 where the verdict is out of sight
  const below = shown.bottom + MARGIN - view.bottom;
  const move = above < 0 ? above : Math.min(above, Math.max(below, 0));
  if (isInSight && move !== 0) {
    notebook.outerNode.scrollTop += move;
  }
}

/** Wait until what came is on the page, and the browser has settled where it scrolls to. */
function drawn(): Promise<void> {
  return new Promise(resolve => {
    requestAnimationFrame(() => {
      requestAnimationFrame(() => {
        resolve();
      });
    });
  });
}
