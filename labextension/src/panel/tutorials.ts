/** The tutorials that come with the extension: each opens as a copy for the user to change. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, InputDialog, showErrorMessage } from '@jupyterlab/apputils';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';

import { saveNew } from './files';
import { pruneIcon } from './icon';
import { CATEGORY } from './plugin';

const COMMAND = 'hwprune:open-tutorial';

export const tutorials: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-hwprune:tutorials',
  description: 'Opens the tutorials of jupyter-hwprune.',
  autoStart: true,
  optional: [ICommandPalette, ILauncher, IDefaultFileBrowser],
  activate: (
    app: JupyterFrontEnd,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    browser: IDefaultFileBrowser | null
  ) => {
    app.commands.addCommand(COMMAND, {
      label: 'Pruning Tutorials',
      caption: 'Open a copy of a tutorial in the current folder',
      icon: pruneIcon,
      execute: args => openTutorial(app, browser?.model.path ?? '', args.name),
      describedBy: {
        args: {
          type: 'object',
          properties: { name: { type: 'string', description: 'The name of the notebook; without it, a dialog asks' } },
        },
      },
    });
    palette?.addItem({ command: COMMAND, category: CATEGORY });
    launcher?.add({ command: COMMAND, category: 'Other', rank: 50 });
  },
};

async function openTutorial(app: JupyterFrontEnd, folder: string, name: unknown): Promise<void> {
  const { default: all } = await import('../tutorials.json');
  const wanted = all.find(each => each.name === name) ?? all.find(each => each.title === name);
  const chosen = wanted ?? (await choose(all));
  if (chosen === undefined) {
    return;
  }
  try {
    const path = await saveNew(app.serviceManager.contents, folder, chosen.name.replace('.ipynb', ''), '.ipynb', {
      type: 'notebook',
      format: 'json',
      content: chosen.content,
    });
    await app.commands.execute('docmanager:open', { path });
  } catch (error) {
    await showErrorMessage(
      `${chosen.name} could not be saved in this folder`,
      error instanceof Error ? error : String(error)
    );
  }
}

async function choose<T extends { title: string }>(all: T[]): Promise<T | undefined> {
  const { value } = await InputDialog.getItem({
    title: 'Pruning tutorials',
    label: 'A copy opens in the current folder.',
    items: all.map(each => each.title),
    okLabel: 'Open',
  });
  return all.find(each => each.title === value);
}
