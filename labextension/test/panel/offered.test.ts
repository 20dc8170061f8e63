import { describe, expect, it } from 'vitest';

import { isOffered } from '../../src/panel/offered';
import { magicLine } from '../../src/panel/line';
import lines from '../../../tests/magic_lines.json';

describe('a line that a report asks to insert', () => {
  it('is one that the package writes', () => {
    const written = (lines as { form: Parameters<typeof magicLine>[0]; line: string }[]).map(({ line }) => line);
    expect(written.filter(line => !isOffered(line))).toEqual([]);
    const others = [
      '%hwprune advise net --input x --target x86-cpu',
      "%hwprune net --eval 'accuracy(net)' --max-drop 0.01 --keep-all --batch 2 -o run",
      '%%hwprune net --input x --sparsity 0.5 -o run\n# train net here\naccuracy(net)',
      '%hwprune doctor hopper',
      '%hwprune setup deepsparse --accept-licence',
      '%pip install openvino',
      'run.export("pruned-to-deploy")',
    ];
    expect(others.filter(line => !isOffered(line))).toEqual([]);
  });

  it('is nothing else', () => {
    const hostile = [
      '',
      'import os',
      '!rm -rf .',
      '%hwprune net\n!rm -rf .',
      '%hwprune net --shell rm',
      '%hwprune net other',
      '%hwprune "$(rm)"',
      '%hwprune net; import os',
      '%hwpruned net',
      '%%hwprune net\nimport os\nos.remove("x")',
      '%%hwprune net\n# train net here\n%run x.py',
      '%%hwprune net\n# train net here\na; b',
      '%%bash\n# train net here\nrm',
      '%pip install a b --index-url https://x',
      '%pip install https://x',
      'run.export("../x")',
      `%hwprune ${'x'.repeat(3000)}`,
    ];
    expect(hostile.filter(isOffered)).toEqual([]);
  });
});
