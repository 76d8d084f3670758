// @ts-check
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, stop } from 'esbuild';

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

const page = fileURLToPath(new URL('public/', import.meta.url));

/** The page by path. Its script is one file with all that it imports: React, and `rollcall/react`. */
const files = new Map([
  ['/index.html', readFileSync(`${page}index.html`)],
  ['/style.css', readFileSync(`${page}style.css`)],
  ['/panels.css', readFileSync(`${page}panels.css`)],
  ['/page.js', await bundle(`${page}page.jsx`)],
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
  const [, kind = ''] = /\.(\w+)$/.exec(path === '/' ? '/index.html' : path) ?? [];
  const type = Object(TYPES)[kind];
  response.writeHead(200, { ...HEADERS, 'content-type': `${type}; charset=utf-8` });
  response.end(file);
  return true;
}

/** @param {string} entry */
async function bundle(entry) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'esm',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'silent',
  });
  await stop();
  return outputFiles[0].contents;
}
