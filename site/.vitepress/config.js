import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitepress';
import { accessibleTheme } from './accessible-theme.js';
import { labelCells } from './label-cells.js';

/** Where build.js collects the pages. */
const pages = fileURLToPath(new URL('../../.tmp/site', import.meta.url));

const GUIDES = [
  ['Begin', ['getting-started', 'tutorial', 'entry-points', 'comparison', 'migrations', 'faq']],
  ['Messages', ['pubsub', 'channels', 'history']],
  ['Presence', ['presence', 'rest-lookups', 'serverless']],
  [
    'Servers',
    [
      'rooms',
      'websockets',
      'servers',
      'crossws',
      'sse',
      'socket-io',
      'from-redis-adapter',
      'graphql',
      'nestjs',
      'typing',
      'notifications',
    ],
  ],
  ['Browsers', ['client', 'shared-worker', 'react', 'react-native', 'protocol']],
  ['Production', ['deployment', 'security', 'production', 'upgrading', 'compatibility', 'troubleshooting']],
  ['Operation', ['cli', 'errors', 'telemetry', 'topologies', 'sizing', 'faults', 'benchmarks']],
  ['Development', ['testing', 'contributing', 'changelog', 'decisions/index']],
];

/** The first heading, without marks and without what follows a colon. */
function titleOf(page) {
  const text = readFileSync(join(pages, `${page}.md`), 'utf8');
  return (/^# (.+)$/m.exec(text)?.[1] ?? page).replaceAll('`', '').replace(/: .*$/, '');
}

const toItem = (page) => ({ text: titleOf(page), link: `/${page.replace(/(^|\/)index$/, '$1')}` });

const listed = new Set(GUIDES.flatMap(([, names]) => names));
const unlisted = readdirSync(pages)
  .filter((name) => name.endsWith('.md'))
  .map((name) => name.slice(0, -'.md'.length))
  .filter((name) => name !== 'index' && !listed.has(name));
if (unlisted.length > 0) throw new Error(`site/.vitepress/config.js has no place for ${unlisted.join(', ')}`);

/** The folders of the entry points, below api/: `rollcall`, then `rollcall/client` and so on. */
const entryPoints = readdirSync(join(pages, 'api/rollcall'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(join(pages, 'api/rollcall', entry.name, 'index.md')))
  .map(({ name }) => `rollcall/${name}`);
const entries = ['rollcall', ...entryPoints];

const KINDS = [
  ['Functions', 'functions'],
  ['Classes', 'classes'],
  ['Interfaces', 'interfaces'],
  ['Types', 'type-aliases'],
  ['Constants', 'variables'],
];

/** The exports of an entry point, by kind. */
function exportsOf(entry) {
  return KINDS.filter(([, folder]) => existsSync(join(pages, 'api', entry, folder))).map(
    ([text, folder]) => ({
      text,
      items: readdirSync(join(pages, 'api', entry, folder)).map((file) => {
        const name = file.slice(0, -'.md'.length);
        return { text: name, link: `/api/${entry}/${folder}/${name}` };
      }),
    }),
  );
}

/** The navigation of all pages. On those of one entry point it also lists the exports. */
function navigation(current) {
  const inReference = current !== undefined;
  return [
    { text: 'Overview', link: '/' },
    ...GUIDES.map(([text, names]) => ({ text, collapsed: inReference, items: names.map(toItem) })),
    {
      text: 'API reference',
      collapsed: !inReference,
      items: entries.map((entry) => ({
        text: entry,
        link: `/api/${entry}/`,
        ...(entry === current ? { collapsed: false, items: exportsOf(entry) } : {}),
      })),
    },
  ];
}

/** The anchors of GitHub, which the guides use. */
const slugify = (text) =>
  text
    .trim()
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\p{M}\p{Pc}\- ]/gu, '')
    .replaceAll(' ', '-');

const ICON =
  "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><rect width='16' height='16' rx='5' fill='%234f46e5'/><path d='m4 8.5 2.5 2.5L12 5.5' fill='none' stroke='%23fff' stroke-width='2' stroke-linecap='round' stroke-linejoin='round'/></svg>";

export default defineConfig({
  title: 'rollcall',
  description: 'Redis-backed pub/sub and presence for any real-time server',
  lang: 'en',
  srcDir: pages,
  outDir: fileURLToPath(new URL('../../dist-site', import.meta.url)),
  cacheDir: fileURLToPath(new URL('../../.tmp/vitepress', import.meta.url)),
  // The navigation stands in one file of its own instead of every page.
  metaChunk: true,
  // esbuild no longer makes code for the oldest browsers that Vite 5 asks for.
  // The largest chunk is the index of the search, which is loaded when a search begins.
  vite: { build: { target: 'es2022', chunkSizeWarningLimit: 4_000 }, plugins: [accessibleTheme] },
  markdown: {
    anchor: { slugify },
    config: (md) => md.use(labelCells),
    // Comments in the light theme have too little contrast on the grey of code blocks.
    codeTransformers: [
      { postprocess: (html) => html.replaceAll('--shiki-light:#6E7781', '--shiki-light:#59636E') },
    ],
    languageAlias: { mjs: 'js', redis: 'sh', haproxy: 'nginx' },
    theme: { light: 'github-light-default', dark: 'github-dark-default' },
  },
  head: [['link', { rel: 'icon', href: ICON }]],
  themeConfig: {
    search: {
      provider: 'local',
      // Guides come first: most pages of the reference have headings such as `name`, and the changelog has every word.
      options: {
        miniSearch: {
          searchOptions: { boostDocument: (id) => (/\/(api|decisions)\/|\/changelog/.test(id) ? 0.3 : 1) },
        },
      },
    },
    outline: [2, 3],
    nav: [
      { text: 'Guides', link: '/getting-started', activeMatch: '^/(?!api/)' },
      { text: 'API', link: '/api/rollcall/', activeMatch: '^/api/' },
    ],
    sidebar: {
      '/': navigation(),
      ...Object.fromEntries(entries.map((entry) => [`/api/${entry}/`, navigation(entry)])),
    },
  },
});
