import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';

import { RunTabs } from '../runs/tabs';
import { AllRuns } from '../runs/runs';
import { pruneIcon } from './icon';
import { leaveStatusAlone } from './kernel';
import { insertsLines } from './inserting';
import { DEFAULTS } from './line';
import { PanelModel } from './model';
import { PANEL_ID, PrunePanel } from './view/panel';

export const CATEGORY = 'Prune for a chip';
const RANK = 850;

interface Command {
  label: string;
  caption?: string;
  /** A button for a command without an icon shows its label. */
  icon?: typeof pruneIcon;
  needsNotebook?: boolean;
  /** Whether it takes the path of a notebook, which may not be open yet. */
  takesPath?: boolean;
  run: (model: PanelModel, open: () => void, path?: string) => unknown;
}

const COMMANDS: Record<string, Command> = {
  'hwprune:open-panel': {
    label: 'Prune for a Chip',
    caption: 'Prune a model of this notebook for a chip',
    icon: pruneIcon,
    run: (_, open) => {
      open();
    },
  },
  'hwprune:insert': {
    label: 'Insert the %hwprune Cell',
    caption: 'Insert the panel’s line as a cell below the active one',
    needsNotebook: true,
    run: model => model.insert(false),
  },
  'hwprune:insert-and-run': {
    label: 'Insert the %hwprune Cell and Run It',
    caption: 'Insert the panel’s line as a cell below the active one, and run it',
    needsNotebook: true,
    run: model => model.insert(true),
  },
  'hwprune:compare': {
    label: 'Compare Runs of This Notebook',
    caption: 'Show the runs of this notebook side by side in a tab',
    needsNotebook: true,
    takesPath: true,
    run: (model, _, path) => {
      model.compare(path);
    },
  },
  'hwprune:targets': {
    label: 'What Pays on Which Chip',
    needsNotebook: true,
    run: (model, open) => {
      open();
      model.want('targets');
    },
  },
  'hwprune:doctor': {
    label: 'What Is Missing on This Machine',
    needsNotebook: true,
    run: (model, open) => {
      open();
      model.want('doctor');
    },
  },
};

export const panel: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-hwprune:plugin',
  description: 'A side panel that writes %hwprune cells, follows their runs and compares them.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette, ILayoutRestorer, ISettingRegistry],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null,
    registry: ISettingRegistry | null
  ) => {
    leaveStatusAlone();
    insertsLines(tracker);
    const allRuns = new AllRuns(tracker);
    const tabs = new RunTabs(app, allRuns, tracker, restorer);
    const model = new PanelModel(tracker, allRuns, tabs);
    const widget = new PrunePanel(model);
    const open = () => {
      app.shell.activateById(PANEL_ID);
    };
    addCommands(app, model, open, palette);
    restorer?.add(widget, PANEL_ID);
    if (registry === null) {
      app.shell.add(widget, 'right', { rank: RANK });
    } else {
      void followSettings(app, widget, allRuns, registry, open);
    }
  },
};

function addCommands(app: JupyterFrontEnd, model: PanelModel, open: () => void, palette: ICommandPalette | null): void {
  for (const [id, { label, caption, icon, needsNotebook, takesPath, run }] of Object.entries(COMMANDS)) {
    const pathOf = (given: unknown) => (takesPath === true && typeof given === 'string' ? given : undefined);
    const properties = takesPath === true ? { path: { type: 'string' } } : {};
    app.commands.addCommand(id, {
      label,
      caption: caption ?? label,
      ...(icon === undefined ? {} : { icon }),
      isEnabled: ({ path }) => needsNotebook !== true || model.notebook !== null || pathOf(path) !== undefined,
      execute: ({ path }) => run(model, open, pathOf(path)),
      describedBy: { args: { type: 'object', properties } },
    });
    palette?.addItem({ command: id, category: CATEGORY });
  }
  model.changed.connect(() => {
    app.commands.notifyCommandChanged('hwprune:insert');
  });
}

async function followSettings(
  app: JupyterFrontEnd,
  widget: PrunePanel,
  allRuns: AllRuns,
  registry: ISettingRegistry,
  open: () => void
): Promise<void> {
  const settings = await registry.load(panel.id);
  const apply = () => {
    const { side, defaultTarget: target, defaultSparsity: sparsity } = settings.composite;
    widget.model.setDefaults({
      ...DEFAULTS,
      target: typeof target === 'string' && target !== '' ? target : DEFAULTS.target,
      sparsity: typeof sparsity === 'number' && sparsity > 0 ? String(sparsity) : '',
    });
    allRuns.keeps = settings.composite.keepRuns !== false;
    place(app, widget, side === 'left' ? 'left' : 'right');
  };
  apply();
  settings.changed.connect(apply);
  await app.restored; // this puts the panel where it was last time
  apply();
  if (settings.composite.openAtStart === true) {
    open();
  }
}

function place(app: JupyterFrontEnd, widget: PrunePanel, side: 'left' | 'right'): void {
  if (!Array.from(app.shell.widgets(side)).includes(widget)) {
    app.shell.add(widget, side, { rank: RANK });
  }
}
