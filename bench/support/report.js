// @ts-check

/** @param {number[]} values */
function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** @param {number[]} values */
export function spread(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** @typedef {ReturnType<typeof spread>} Spread */

/**
 * @typedef {object} Row
 * @property {string} workload
 * @property {string} title
 * @property {string} library
 * @property {string} rival
 * @property {Record<'client' | 'redis', { rollcall: Spread, rival: Spread, ratio: Spread, target: number | undefined }>} figures
 */

/** @param {number} value */
const digits = (value) =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

/** @param {Spread} spread */
const ranged = ({ median, min, max }) => `${digits(median)} (${digits(min)}–${digits(max)})`;

const HEAD = [
  'workload',
  'client',
  'compared with',
  'rollcall µs',
  'other µs',
  'ratio',
  'target',
  'Redis: rollcall µs',
  'other µs',
  'ratio',
  'target',
];

/**
 * @param {Row} row
 * @returns {string[]}
 */
function cells({ title, library, rival, figures }) {
  return [
    title,
    library,
    rival,
    ...['client', 'redis'].flatMap((side) => {
      const { rollcall, rival, ratio, target } = figures[/** @type {'client' | 'redis'} */ (side)];
      const verdict = target === undefined ? '' : `${ratio.median <= target ? 'met' : 'missed'} ≤ ${target}`;
      return [ranged(rollcall), ranged(rival), `× ${ranged(ratio)}`, verdict];
    }),
  ];
}

/** @param {Row[]} rows */
export function terminalTable(rows) {
  const lines = [HEAD, ...rows.map(cells)];
  const widths = HEAD.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** @param {Row[]} rows */
export function markdownTable(rows) {
  const lines = [HEAD, HEAD.map((_, at) => (at < 3 ? '---' : '--:')), ...rows.map(cells)];
  return lines.map((line) => `| ${line.join(' | ')} |`).join('\n');
}
