import type { Report } from '../../report';
import { KEYS, element } from '../elements';
import { count, counted, share, threeDigits } from '../format';
import type { Seen } from '../reading';
import { middleCut, text, type Row } from '../words';
import { boxes, networkOf, sizes, type Block, type Box, type Network } from './tree';

const [FIRST_WIDTH, LOWEST, HIGHEST] = [720, 110, 340];
const [NAME, SPEED] = [
  { width: 34, height: 17 },
  { width: 44, height: 34 },
]; // what a block needs to bear its name, and its speed below
const AREAS = {
  time: 'its time when dense',
  estimate: 'its estimate when dense',
  MACs: 'its MACs when dense, as no time is known',
};

/** The network as blocks, each as large as what its layer takes; `open` shows a layer in the table. */
export function picture(report: Seen<Report>, rows: Row[], open: (row: Row) => void): HTMLElement | null {
  const network = networkOf(report, rows);
  if (network === null) {
    return null;
  }
  const area = AREAS[network.measure];
  const missing = network.unknown > 0 ? `; ${counted(network.unknown, 'layer')} without one not drawn` : '';
  const about = `Each block is a layer: its area ${area.replace('its', 'is its')}${missing}.`;
  const said = element('p', { class: 'hwprune-told', attributes: { 'aria-hidden': 'true' } }, about); // blocks say it themselves
  const label = `The layers, each as large as ${area}. Arrow keys go from the largest to the smallest; the table has the numbers.`;
  const place = element('div', {
    class: 'hwprune-network',
    attributes: { role: 'group', 'aria-label': label, ...KEYS },
  });
  new Picture(place, network, (block, wanted) => {
    said.textContent = block === null ? about : wordsOf(block, network);
    if (wanted && block?.row) {
      open(block.row);
    }
  });
  return element('div', { class: 'hwprune-networkPart' }, place, said, legend(rows));
}

type Tell = (block: Block | null, wanted: boolean) => void;

/** Lays the blocks out anew when the page has another width; one of them has the focus at a time. */
class Picture {
  private width = 0;
  private at = 0;

  constructor(
    private readonly place: HTMLElement,
    private readonly network: Network,
    private readonly tell: Tell
  ) {
    this.draw(FIRST_WIDTH);
    new ResizeObserver(() => {
      const { clientWidth } = place;
      if (clientWidth > 0 && clientWidth !== this.width) {
        this.draw(clientWidth);
      }
    }).observe(place);
    place.addEventListener('keydown', this.onKey);
    place.addEventListener('mouseleave', () => {
      tell(null, false);
    });
  }

  private draw(width: number): void {
    const { network, place } = this;
    const had = place.contains(document.activeElement);
    this.width = width;
    const height = Math.min(HIGHEST, LOWEST + 8 * network.blocks.length);
    place.style.height = `${height}px`;
    const drawn = boxes(network, width, height).map(box =>
      box.block === null ? frame(box) : this.block(box, box.block)
    );
    place.replaceChildren(...drawn);
    this.focus(this.at, had);
  }

  private block(box: Box, block: Block): HTMLElement {
    const verdict = block.row?.layer.speed.verdict ?? 'not measured';
    const attributes = { type: 'button', tabindex: '-1', 'data-verdict': block.row === null ? 'none' : verdict };
    const made = element('button', { class: 'hwprune-block', attributes }, ...inside(box, block, this.network));
    made.setAttribute('aria-label', wordsOf(block, this.network));
    lay(made, box);
    const hear = (wanted: boolean) => () => {
      this.tell(block, wanted);
    };
    made.addEventListener('mouseenter', hear(false));
    made.addEventListener('focus', hear(false));
    made.addEventListener('click', hear(true));
    return made;
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    const { length } = this.blocks;
    const to = {
      ArrowRight: this.at + 1,
      ArrowDown: this.at + 1,
      ArrowLeft: this.at - 1,
      ArrowUp: this.at - 1,
      Home: 0,
      End: length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.focus(Math.max(0, Math.min(length - 1, to)), true);
    }
  };

  private get blocks(): HTMLButtonElement[] {
    return [...this.place.querySelectorAll<HTMLButtonElement>('.hwprune-block')];
  }

  /** Let Tab come to one block, and go there if wanted. */
  private focus(at: number, wanted: boolean): void {
    const { blocks } = this;
    this.at = at;
    blocks.forEach((block, index) => {
      block.tabIndex = index === at ? 0 : -1;
    });
    if (wanted) {
      blocks[at]?.focus();
    }
  }
}

function frame(box: Box): HTMLElement {
  const made = element(
    'div',
    { class: 'hwprune-module', attributes: { 'aria-hidden': 'true' } },
    middleCut(box.label, 60)
  );
  lay(made, box);
  return made;
}

function lay({ style }: HTMLElement, { x, y, width, height }: Box): void {
  Object.assign(style, { left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px` });
}

/** The name where there is room for it, the speed below, and at the foot a strip as long as what is left. */
function inside({ label, width, height }: Box, { row }: Block, { measure }: Network): (HTMLElement | null)[] {
  const name = width >= NAME.width && height >= NAME.height ? element('span', {}, middleCut(label, 60)) : null;
  if (row === null) {
    return [name];
  }
  const hasRoom = width >= SPEED.width && height >= SPEED.height;
  const { speedup, verdict } = row.layer.speed;
  const isJudged = speedup !== null && (verdict === 'faster' || verdict === 'slower');
  const below = isJudged
    ? `${speedup.toFixed(2)}x`
    : row.layer.sparsity === null
      ? ''
      : `-${share(row.layer.sparsity)}`;
  const [dense, pruned] = sizes(row, measure);
  const strip = element('i', { class: 'hwprune-left' });
  strip.style.width = dense === null || pruned === null ? '0' : `${Math.min(100, (100 * pruned) / dense)}%`;
  return [name, hasRoom ? element('small', {}, below) : null, strip];
}

function wordsOf({ name, size, row }: Block, { total, measure }: Network): string {
  const said =
    measure === 'time' ? `${threeDigits(size)} µs` : measure === 'MACs' ? `${count(size)} MACs` : count(size);
  const part = `${middleCut(name, 120)}: ${said} when dense, ${share(size / total)} of all shown`;
  if (row === null) {
    return part;
  }
  const { layer, cells } = row;
  const faster = layer.speed.speedup === null ? '' : `, ${cells.faster ?? ''}`;
  return `${part}; ${text(layer.pattern)}, ${share(layer.sparsity)} gone${faster}`;
}

const COLOURS = [
  ['faster', 'faster'],
  ['slower', 'slower'],
  ['no measurable gain', 'within noise'],
  ['not measured', 'not measured'],
] as const;

function legend(rows: Row[]): HTMLElement {
  const there = COLOURS.filter(([verdict]) =>
    rows.some(({ layer }) => (layer.speed.verdict ?? 'not measured') === verdict)
  );
  const entries = there.map(([verdict, said]) =>
    element('span', {}, element('i', { class: 'hwprune-block', attributes: { 'data-verdict': verdict } }), said)
  );
  const strip = element('span', {}, element('i', { class: 'hwprune-strips' }), 'what is left of it');
  return element('div', { class: 'hwprune-legend', attributes: { 'aria-hidden': 'true' } }, ...entries, strip);
}
