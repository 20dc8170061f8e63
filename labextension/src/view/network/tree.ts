/** The layers of a report as a tree of modules, each as large as the time that it takes when dense. */
import { hierarchy, treemap, type HierarchyNode } from 'd3-hierarchy';

import type { Report } from '../../report';
import type { Seen } from '../reading';
import { nameOf, type Row } from '../words';

const MOST = 300; // blocks; what is smaller is one block
const LEVELS = 2; // of modules about the layers
const [GAP, HEAD] = [2, 17];
const LEAST_AREA = 2500; // in pixels, for a module to bear its name
const USUAL_AREA = 5000; // of the modules side by side, so that about all of them bear one, or none

export type Measure = 'time' | 'estimate' | 'MACs';

/** A layer, or several that no single layer of the report stands for. */
export interface Block {
  name: string;
  size: number;
  row: Row | null;
}

export interface Network {
  measure: Measure;
  blocks: Block[];
  total: number;
  /** How many layers have no size, and are not drawn. */
  unknown: number;
}

/** The blocks, the largest first: by dense time, else by a compiler's estimate, else by MACs. */
export function networkOf(report: Seen<Report>, rows: Row[]): Network | null {
  const measure = MEASURES.find(each => rows.some(row => (sizes(row, each)[0] ?? 0) > 0));
  if (measure === undefined) {
    return null;
  }
  const known = rows.flatMap((row): Block[] => {
    const [size] = sizes(row, measure);
    return size !== null && size > 0 ? [{ name: nameOf(row.layer, 400), size, row }] : [];
  });
  known.sort((a, b) => b.size - a.size);
  const smaller = known.slice(MOST);
  const others = measure === 'time' ? (report.other_kernels?.dense_us ?? 0) : 0;
  const blocks = [
    ...known.slice(0, MOST),
    ...(smaller.length > 0 ? [{ name: `${smaller.length} smaller layers`, size: sum(smaller), row: null }] : []),
    ...(others > 0 ? [{ name: 'all other kernels', size: others, row: null }] : []),
  ];
  return { measure, blocks, total: sum(blocks), unknown: rows.length - known.length };
}

const MEASURES: readonly Measure[] = ['time', 'estimate', 'MACs'];

/** A layer's size, dense and pruned. */
export function sizes({ layer }: Row, measure: Measure): [number | null, number | null] {
  if (measure === 'MACs') {
    return [layer.macs, layer.pruned_macs];
  }
  return measure === 'time'
    ? [layer.dense_us, layer.pruned_us]
    : [layer.estimate?.dense ?? null, layer.estimate?.pruned ?? null];
}

function sum(blocks: Block[]): number {
  return blocks.reduce((total, { size }) => total + size, 0);
}

interface Node {
  label: string;
  block?: Block;
  children?: Node[];
}

type Laid = HierarchyNode<Node>;

/** A block or a module's frame, in pixels. */
export interface Box {
  label: string;
  block: Block | null;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where all stand in a rectangle: frames that bear a name first, then blocks, the largest first. */
export function boxes({ blocks, total }: Network, width: number, height: number): Box[] {
  const layers = blocks.filter(({ row }) => row !== null);
  const others = blocks.filter(({ row }) => row === null).map(block => ({ label: block.name, block }));
  const root = hierarchy<Node>({ label: '', children: [...grouped(layers, 0, LEVELS), ...others] })
    .sum(({ block }) => block?.size ?? 0)
    .sort((a, b) => (b.value ?? 0) - (a.value ?? 0));
  const area = ({ value }: Laid) => ((value ?? 0) / total) * width * height;
  const bears = (node: Laid) => area(node) >= LEAST_AREA && usual(beside(node).map(area)) >= USUAL_AREA;
  const laid = treemap<Node>()
    .size([width, height])
    .round(true)
    .paddingInner(GAP)
    .paddingTop(node => (node.depth > 0 && node.children !== undefined && bears(node) ? HEAD : 0))(root);
  const shown = laid.descendants().filter(node => node.depth > 0 && (node.children === undefined || bears(node)));
  const found = shown.map(({ data, x0, x1, y0, y1 }) => ({
    label: data.label,
    block: data.block ?? null,
    x: x0,
    y: y0,
    width: x1 - x0,
    height: y1 - y0,
  }));
  const rank = ({ block }: Box) => (block === null ? -Infinity : -block.size);
  return found.sort((a, b) => rank(a) - rank(b));
}

/** The modules beside one, and itself. */
function beside({ parent }: Laid): Laid[] {
  return parent?.children?.filter(node => node.children !== undefined) ?? [];
}

function usual(areas: number[]): number {
  return areas.sort((a, b) => a - b)[areas.length >> 1] ?? 0;
}

/** Blocks under the parts of their names in which they differ; a module with one layer is no group. */
function grouped(blocks: Block[], depth: number, levels: number): Node[] {
  const pathOf = (block: Block) => block.name.split('.');
  const leaf = (block: Block): Node => ({ label: pathOf(block).slice(depth).join('.') || block.name, block });
  const longest = Math.max(...blocks.map(block => pathOf(block).length));
  if (levels === 0 || depth >= longest) {
    return blocks.map(leaf);
  }
  const parts = new Map<string, Block[]>();
  for (const block of blocks) {
    const part = pathOf(block)[depth] ?? '';
    parts.set(part, [...(parts.get(part) ?? []), block]);
  }
  if (parts.size === 1) {
    return grouped(blocks, depth + 1, levels);
  }
  return [...parts.values()].flatMap(members => {
    const [first] = members;
    if (first === undefined || members.length === 1) {
      return members.map(leaf);
    }
    const isNumber = depth > 0 && /^\d+$/.test(pathOf(first)[depth] ?? ''); // says little without the part before it
    const label = pathOf(first)
      .slice(isNumber ? depth - 1 : depth, depth + 1)
      .join('.');
    return [{ label, children: grouped(members, depth + 1, levels - 1) }];
  });
}
