// Builds the documentation site into dist-site: the guides and the API reference, as static pages with a search that needs no server.
// `npm run docs:site`; `npm run docs:site -- --base /rollcall/` for a site that is served under that path.
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Application } from 'typedoc';
import { build } from 'vitepress';
import { checkLinks } from './check-links.js';
import { findPages, toSitePage } from './pages.js';

const { values } = parseArgs({ options: { base: { type: 'string', default: '/' } } });
const { base } = values;
if (!/^\/(.*\/)?$/.test(base)) throw new Error(`--base must begin and end with a slash, got ${base}`);

const root = fileURLToPath(new URL('..', import.meta.url));
/** Where the Markdown of all pages is collected; `srcDir` of the configuration. */
const staging = join(root, '.tmp/site');
const output = join(root, 'dist-site');

await rm(staging, { recursive: true, force: true });
await stageGuides();
await stageReference();
await rm(output, { recursive: true, force: true });
await build(join(root, 'site'), { base });
const count = await checkLinks(output, base);
console.log(`dist-site: ${count} pages, every link and anchor leads somewhere`);

async function stageGuides() {
  const pages = await findPages(root);
  const decisions = [];
  for (const [file, page] of pages) {
    if (file.endsWith('/')) continue;
    const text = toSitePage(await readFile(join(root, file), 'utf8'), file, pages);
    await write(page, text);
    if (page.startsWith('decisions/'))
      decisions.push(`- [${/^# (.+)$/m.exec(text)?.[1]}](./${page.slice('decisions/'.length)})`);
  }
  await write(
    'decisions/index.md',
    `# Decisions\n\nWhy rollcall is built as it is: context, choice and price.\n\n${decisions.sort().join('\n')}\n`,
  );
  await cp(join(root, 'docs/benchmarks'), join(staging, 'benchmarks'), { recursive: true });
  for (const name of ['architecture.svg', 'recovery.svg'])
    await cp(join(root, 'docs', name), join(staging, name));
}

/** Writes a page for each export, with the checks that `typedoc` itself makes. */
async function stageReference() {
  const typedoc = await Application.bootstrapWithPlugins({
    options: join(root, 'typedoc.json'),
    plugin: ['typedoc-plugin-markdown'],
    out: join(staging, 'api'),
    entryFileName: 'index',
    hidePageHeader: true,
    sanitizeComments: true,
    useHTMLEncodedBrackets: true,
    parametersFormat: 'table',
  });
  const project = await typedoc.convert();
  if (project !== undefined) typedoc.validate(project);
  if (project === undefined || typedoc.logger.hasErrors() || typedoc.logger.hasWarnings()) {
    throw new Error('typedoc has found the problems above');
  }
  // A module is called as it is imported.
  for (const entry of project.children ?? [])
    entry.name = entry.name === 'index' ? 'rollcall' : `rollcall/${entry.name}`;
  await typedoc.generateOutputs(project);
}

async function write(page, text) {
  const file = join(staging, page);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}
