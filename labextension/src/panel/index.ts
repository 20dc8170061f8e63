import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { exporter } from './export';
import { panel } from './plugin';
import { tutorials } from './tutorials';

/** The side panel with its commands, toolbar button and settings; the tutorials; reports as files. */
export const panelPlugins: JupyterFrontEndPlugin<unknown>[] = [panel, tutorials, exporter];
