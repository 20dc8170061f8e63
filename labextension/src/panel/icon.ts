import { LabIcon } from '@jupyterlab/ui-components';

/** A chip whose grid of weights has gaps. */
const CHIP = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path fill-rule="evenodd" d="M6 4h12a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zm0 1.6a.4.4 0 0 0-.4.4v12c0 .22.18.4.4.4h12a.4.4 0 0 0 .4-.4V6a.4.4 0 0 0-.4-.4z"/>
    <path d="M8 1.5h1.5V4H8zM14.5 1.5H16V4h-1.5zM8 20h1.5v2.5H8zM14.5 20H16v2.5h-1.5zM1.5 8H4v1.5H1.5zM1.5 14.5H4V16H1.5zM20 8h2.5v1.5H20zM20 14.5h2.5V16H20z"/>
    <path d="M7.5 7.5h2.6v2.6H7.5zM10.7 10.7h2.6v2.6h-2.6zM13.9 7.5h2.6v2.6h-2.6zM7.5 13.9h2.6v2.6H7.5z"/>
  </g>
</svg>`;

export const pruneIcon = new LabIcon({ name: 'jupyter-hwprune:prune', svgstr: CHIP });
