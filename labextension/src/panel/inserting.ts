/** Insert the line that a report offers, where its reader presses the button for it. */
import type { INotebookTracker } from '@jupyterlab/notebook';

import { INSERTS, INSERT_EVENT } from '../view/next';
import { insertBelow } from './cells';
import { isOffered } from './offered';

/** Insert an offered line, as a cell below the one that holds the report; nothing runs it but the user. */
export function insertsLines(tracker: INotebookTracker): void {
  document.body.setAttribute(INSERTS, '');
  document.body.addEventListener(INSERT_EVENT, event => {
    const line: unknown = event instanceof CustomEvent ? event.detail : null;
    const { target } = event;
    if (typeof line !== 'string' || !(target instanceof Node) || !isOffered(line)) {
      return;
    }
    const panel = tracker.find(({ node }) => node.contains(target));
    const index = panel?.content.widgets.findIndex(({ node }) => node.contains(target)) ?? -1;
    if (panel !== undefined && index >= 0) {
      panel.content.activeCellIndex = index;
      insertBelow(panel.content, line);
    }
  });
}
