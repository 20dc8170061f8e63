import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';

import { pruneIcon } from './panel/icon';
import { ProgressRenderer, PROGRESS_TYPE } from './progress/renderer';
import { ReportRenderer, REPORT_TYPE } from './view/renderer';

const FILE_TYPE = 'hwprune-report';

const report: IRenderMime.IExtension = {
  id: 'jupyter-hwprune:report',
  description: 'Shows the reports of hwprune, in outputs and as files.',
  rendererFactory: {
    safe: true,
    mimeTypes: [REPORT_TYPE],
    defaultRank: 0, // before the page and the picture that come with it for those without this extension
    createRenderer: () => new ReportRenderer(),
  },
  dataType: 'string', // a file is read by us, who can say what is wrong with it
  fileTypes: [
    {
      name: FILE_TYPE,
      displayName: 'hwprune report',
      extensions: ['.hwprune.json'],
      mimeTypes: [REPORT_TYPE],
      fileFormat: 'text',
      icon: pruneIcon.name, // what stands here is passed on as JSON
    },
  ],
  documentWidgetFactoryOptions: {
    name: 'hwprune report',
    primaryFileType: FILE_TYPE,
    fileTypes: [FILE_TYPE, 'json'],
    defaultFor: [FILE_TYPE],
  },
};

const progress: IRenderMime.IExtension = {
  id: 'jupyter-hwprune:progress',
  description: 'Shows how far a run of hwprune is.',
  rendererFactory: {
    safe: true,
    mimeTypes: [PROGRESS_TYPE],
    defaultRank: 0,
    createRenderer: () => new ProgressRenderer(),
  },
  dataType: 'json',
};

export default [report, progress];
