// @ts-check
import { readFileSync } from 'node:fs';

const TYPES = { html: 'text/html', css: 'text/css', js: 'text/javascript' };

const HEADERS = {
  // Files of this server only, and no inline scripts: a user's text never runs in another user's browser.
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
};

const PAGE = [
  'index.html',
  'style.css',
  'panels.css',
  'page.js',
  'dom.js',
  'chat.js',
  'counter.js',
  'room-view.js',
  'people.js',
  'bell.js',
  'backstage.js',
  'chart.js',
];

/** Files by path: the page, and the built `rollcall/client`. */
const files = new Map([
  ...PAGE.map((name) => /** @type {const} */ ([`/${name}`, new URL(`public/${name}`, import.meta.url)])),
  ...modules(new URL(import.meta.resolve('rollcall/client'))),
]);

/**
 * Serves a file; returns false if the path has none.
 *
 * @param {string} path
 * @param {import('node:http').ServerResponse} response
 */
export function serveFile(path, response) {
  const file = files.get(path === '/' ? '/index.html' : path);
  if (file === undefined) return false;
  const [, kind = ''] = /\.(\w+)$/.exec(file.pathname) ?? [];
  const type = Object(TYPES)[kind];
  response.writeHead(200, { ...HEADERS, 'content-type': `${type}; charset=utf-8` });
  response.end(readFileSync(file));
  return true;
}

/**
 * A module and the modules it imports from its folder, now or when it needs them; browsers load them one by one.
 *
 * @param {URL} url
 * @returns {(readonly [string, URL])[]}
 */
function modules(url) {
  const name = url.pathname.slice(url.pathname.lastIndexOf('/') + 1);
  const imports = [...readFileSync(url, 'utf8').matchAll(/\b(?:from\s*|import\()"(\.\/[\w.-]+\.js)"/g)];
  return [
    /** @type {const} */ ([`/rollcall/${name}`, url]),
    ...imports.flatMap(([, path = '']) => modules(new URL(path, url))),
  ];
}
