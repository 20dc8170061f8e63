import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { Widget } from '@lumino/widgets';

import schema from '../report.schema.json';
import { read } from './reading';
import { notice, reportView } from './report_view';

export const REPORT_TYPE = schema.contentMediaType;

/** A report where Jupyter shows one: an output of a cell, or a file. */
export class ReportRenderer extends Widget implements IRenderMime.IRenderer {
  constructor() {
    super();
    this.addClass('hwprune-output');
  }

  renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const reading = read(model.data[REPORT_TYPE]);
    const shown = typeof reading === 'string' ? notice([reading]) : reportView(reading);
    this.node.replaceChildren(shown);
    return Promise.resolve();
  }
}
