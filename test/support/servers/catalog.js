// @ts-check
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Servers that the tests can run on besides the installed one: where Debian has them, and what their programs are called.
 *
 * @typedef {object} ServerSource
 * @property {string[]} suites of Debian that apt has to know
 * @property {string} tools the package whose program is the server too, by the name it is called by
 * @property {string} server the name of the server
 */

/** @type {Readonly<Record<string, ServerSource>>} */
export const SERVERS = {
  'valkey-8.0': {
    suites: ['bookworm', 'bookworm-backports'],
    tools: 'valkey-tools',
    server: 'valkey-server',
  },
  'valkey-8.1': { suites: ['trixie'], tools: 'valkey-tools', server: 'valkey-server' },
  'valkey-9.1': { suites: ['forky'], tools: 'valkey-tools', server: 'valkey-server' },
  'redis-8.0': { suites: ['trixie'], tools: 'redis-tools', server: 'redis-server' },
  'redict-7.3': {
    suites: ['bookworm', 'bookworm-backports'],
    tools: 'redict-tools',
    server: 'redict-server',
  },
};

const folder =
  process.env['SERVERS_DIR'] ??
  fileURLToPath(new URL('../../../node_modules/.cache/servers', import.meta.url));

/**
 * Where `fetch.js` puts the start script of a server.
 *
 * @param {string} name
 */
export const programOf = (name) => join(folder, name, 'server');

/**
 * The names in a list such as `SERVERS`: `all`, or names with commas between them.
 *
 * @param {string | undefined} list
 * @returns {string[]}
 */
export function serverNames(list) {
  if (!list) return [];
  const known = Object.keys(SERVERS);
  const names = list === 'all' ? known : list.split(',');
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new Error(
      `SERVERS: no server is called ${unknown.join(', ')}; use all, or some of ${known.join(', ')}`,
    );
  }
  return names;
}
