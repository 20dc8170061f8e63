import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { panelPlugins } from './panel';

const plugins: JupyterFrontEndPlugin<unknown>[] = [...panelPlugins];

export default plugins;
