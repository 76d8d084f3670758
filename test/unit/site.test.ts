import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createMarkdownRenderer } from 'vitepress';
import { expect, onTestFinished, test } from 'vitest';
// @ts-expect-error: the site's build is plain JavaScript
import { labelCells } from '../../site/.vitepress/label-cells.js';
// @ts-expect-error: the site's build is plain JavaScript
import { checkLinks } from '../../site/check-links.js';
// @ts-expect-error: the site's build is plain JavaScript
import { toCodeTabs, toIoredis } from '../../site/code-tabs.js';
// @ts-expect-error: the site's build is plain JavaScript
import { toSitePage } from '../../site/pages.js';

// The steps by which site/build.js makes pages of the guides.

const root = fileURLToPath(new URL('../..', import.meta.url));

const fence = (code: string, info = 'ts'): string => `\`\`\`${info}\n${code}\n\`\`\``;

test('the navigation has a place for every guide', async () => {
  const config = await readFile(join(root, 'site/.vitepress/config.js'), 'utf8');
  const guides = (await readdir(join(root, 'docs'))).filter((name) => name.endsWith('.md'));
  expect(guides.length).toBeGreaterThan(30);
  expect(guides.filter((name) => !config.includes(`'${name.slice(0, -'.md'.length)}'`))).toEqual([]);
});

test('links of a guide lead to pages of the site, and links to other files become their text', () => {
  const pages = new Map([
    ['README.md', 'index.md'],
    ['docs/rooms.md', 'rooms.md'],
    ['docs/decisions/', 'decisions/index.md'],
    ['docs/decisions/0001-one.md', 'decisions/0001-one.md'],
  ]);
  const page = (text: string, file = 'docs/decisions/0001-one.md') => toSitePage(text, file, pages);
  expect(page('[home](../../README.md#install) and [rooms](../rooms.md)')).toBe(
    '[home](../index.md#install) and [rooms](../rooms.md)',
  );
  expect(page('[why](docs/decisions/), [`code` [x]](docs/rooms.md#a)', 'README.md')).toBe(
    '[why](./decisions/index.md), [`code` [x]](./rooms.md#a)',
  );
  expect(page('![a picture](docs/map.svg)', 'README.md')).toBe('![a picture](./map.svg)');
  expect(page('copy [node.js](../../examples/demo/node.js) or [see](https://example.org)')).toBe(
    'copy node.js or [see](https://example.org)',
  );
  const code = `${fence('handlers[name](../other.md)')}\n\nand \`handlers[name](../other.md)\``;
  expect(page(code)).toBe(code);
});

test('a block for node-redis gets a tab with the same code for ioredis', () => {
  const code = [
    "import { createClient } from 'redis';",
    "const redis = createClient({ url: process.env['REDIS_URL'] ?? 'redis://127.0.0.1' });",
    "redis.on('error', () => {}); // node-redis ends the process without it",
    'redis.destroy();',
  ].join('\n');
  const ioredis = [
    "import { Redis } from 'ioredis';",
    "const redis = new Redis(process.env['REDIS_URL'] ?? 'redis://127.0.0.1');",
    "redis.on('error', () => {});",
    'redis.disconnect();',
  ].join('\n');
  expect(toCodeTabs(`Text.\n\n${fence(code)}\n\nMore.`)).toBe(
    `Text.\n\n::: code-group\n\n${fence(code, 'ts [node-redis]')}\n\n${fence(ioredis, 'ts [ioredis]')}\n\n:::\n\nMore.`,
  );
  // Commands with other names, and options that ioredis does not have.
  expect(toIoredis(`${code}\nawait redis.hSet('key', 'field', 1);`)).toBe(undefined);
  expect(toIoredis("import { createClient } from 'redis';\ncreateClient({\n  pingInterval: 1,\n});")).toBe(
    undefined,
  );
  expect(toIoredis("import { Redis } from 'ioredis';\nnew Redis();")).toBe(undefined);
  const file = `<!-- source: examples/one.js -->\n${fence(code, 'js')}`;
  expect(toCodeTabs(file)).toBe(file);
});

test('blocks in a row, each under a line of bold text, become tabs', () => {
  const [one, two, three] = ['1;', '2;', '3;'].map((code) => fence(code)) as [string, string, string];
  const text = `**a**\n\n${one}\n\n**b**\n\n${two}\n\nText.\n\n**c**\n\n${three}\n\n${one}\n`;
  const tabs = `::: code-group\n\n${fence('1;', 'ts [a]')}\n\n${fence('2;', 'ts [b]')}\n\n:::`;
  expect(toCodeTabs(text)).toBe(`${tabs}\n\nText.\n\n**c**\n\n${three}\n\n${one}\n`);
});

test('links between pages that lead nowhere are listed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-site-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'api'));
  const write = (file: string, body: string) => writeFile(join(folder, file), body);
  await write(
    'index.html',
    '<h2 id="a&amp;b">x</h2><a href="/base/api/">y</a><a href="/base/one.html#part">z</a>',
  );
  await write(
    'one.html',
    '<h2 id="part">x</h2><a class="l" href="./#a&amp;b">y</a><a href="#part">z</a><a href="https://x">w</a>',
  );
  await write('api/index.html', '<a href="../one.html">x</a><img alt="" src="/base/map.svg">');
  await write('map.svg', '');
  expect(await checkLinks(folder, '/base/')).toBe(3);
  await write(
    'api/index.html',
    '<a href="../two.html">x</a><a href="../one.html#no">x</a><img src="/base/no.svg">',
  );
  await expect(checkLinks(folder, '/base/')).rejects.toThrow(
    'broken links:\napi/index.html: ../two.html\napi/index.html: ../one.html#no\napi/index.html: /base/no.svg',
  );
});

test('each cell of a table names its column, for phones; an empty heading is an empty cell', async () => {
  const md = await createMarkdownRenderer(root, { config: (each) => each.use(labelCells) });
  const html = md.render('| | [`a`](b) *c* |\n| --- | --- |\n| one | two |\n\n| x |\n| --- |\n| y |');
  expect(html.match(/<t[hd]\b[^>]*>/g)).toEqual([
    '<td>',
    '<th>',
    '<td>',
    '<td data-label="a c">',
    '<th>',
    '<td data-label="x">',
  ]);
});
