// Writes src/report.ts from src/report.schema.json; with --check it only says whether that would change it.
import { readFile, writeFile } from 'node:fs/promises';
import { compile } from 'json-schema-to-typescript';

const from = new URL('src/report.schema.json', import.meta.url);
const to = new URL('src/report.ts', import.meta.url);
const bannerComment = '/** Made from report.schema.json by `npm run types`: change jupyter_hwprune/report.py instead. */';

const schema = JSON.parse(await readFile(from, 'utf8'));
const types = await compile(schema, schema.title, { bannerComment, style: { singleQuote: true, printWidth: 120 } });
if (!process.argv.includes('--check')) {
  await writeFile(to, types);
} else if ((await readFile(to, 'utf8')) !== types) {
  console.error('src/report.ts is not what src/report.schema.json says: run `npm run types`.');
  process.exitCode = 1;
}
