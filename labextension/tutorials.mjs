// Writes src/tutorials.json: the notebooks of ../notebooks, without their outputs, as the extension brings them along.
import { URL } from 'node:url';
import { readdir, readFile, writeFile } from 'node:fs/promises';

// a copy is alone in the user's folder, so a link to another tutorial would lead nowhere
const OTHERS = /\[([^\]]+)\]\(\w+\.ipynb\)/g;
const from = new URL('../notebooks/', import.meta.url);
const names = (await readdir(from)).filter(name => name.endsWith('.ipynb')).sort();
const tutorials = await Promise.all(
  names.map(async name => {
    const content = JSON.parse(await readFile(new URL(name, from), 'utf8'));
    const cells = content.cells.map(cell =>
      cell.cell_type === 'code'
        ? { ...cell, outputs: [], execution_count: null }
        : { ...cell, source: [cell.source].flat().join('').replace(OTHERS, '$1') }
    );
    return { name, title: titleOf(name, cells), content: { ...content, cells } };
  })
);
await writeFile(new URL('src/tutorials.json', import.meta.url), JSON.stringify(tutorials) + '\n');

function titleOf(name, cells) {
  const texts = cells.filter(cell => cell.cell_type === 'markdown').map(cell => [cell.source].flat().join(''));
  const heading = texts.map(text => /^#\s+(.+)$/m.exec(text)?.[1]).find(Boolean);
  return heading ?? name.replace('.ipynb', '');
}
