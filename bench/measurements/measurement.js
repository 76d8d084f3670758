// @ts-check

/**
 * A measurement of rollcall alone, without competitors.
 *
 * @typedef {object} Measurement
 * @property {string} name
 * @property {string} title
 * @property {(context: Context) => Promise<Finding[]>} run
 *
 * @typedef {object} Context
 * @property {import('../support/redis-server.js').Server} server
 * @property {import('../support/clients.js').Library[]} libraries
 * @property {boolean} quick
 * @property {(text: string) => void} progress
 *
 * @typedef {object} Finding a row of the table of targets
 * @property {string} what
 * @property {string} [library]
 * @property {string} target
 * @property {string} measured
 * @property {boolean} [met] without it, the row has no target
 * @property {object} figures for the JSON file
 */

export {};
