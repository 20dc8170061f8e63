// Writes the types beside each schema that generate.py wrote; with --check it only says whether that would change them.
import { readFile, writeFile } from 'node:fs/promises';
import { compile } from 'json-schema-to-typescript';

const made = [
  { name: 'report', source: 'jupyter_hwprune/report.py' },
  { name: 'panel/answers', source: 'jupyter_hwprune/notebook/lab.py and progress.py' },
];

for (const { name, source } of made) {
  const to = new URL(`src/${name}.ts`, import.meta.url);
  const schema = JSON.parse(await readFile(new URL(`src/${name}.schema.json`, import.meta.url), 'utf8'));
  const from = name.split('/').at(-1);
  const bannerComment = `/** Made from ${from}.schema.json by \`npm run types\`: change ${source} instead. */`;
  const types = await compile(schema, schema.title, { bannerComment, style: { singleQuote: true, printWidth: 120 } });
  if (!process.argv.includes('--check')) {
    await writeFile(to, types);
  } else if ((await readFile(to, 'utf8')) !== types) {
    console.error(`src/${name}.ts is not what src/${name}.schema.json says: run \`npm run types\`.`);
    process.exitCode = 1;
  }
}
