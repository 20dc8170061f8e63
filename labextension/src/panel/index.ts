import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

/** The side panel, its commands, launcher card, toolbar button and settings. */
export const panelPlugins: JupyterFrontEndPlugin<unknown>[] = [];
