// @ts-check
import { competitorNames, libraryNames, workloads } from '../workloads.js';

/** @typedef {import('./compare.js').CompetitorResult} CompetitorResult */
/** @typedef {import('./statistics.js').Statistics} Statistics */
/** @typedef {import('../measurements/measurement.js').Finding} Finding */

/**
 * @typedef {object} Result of one workload with one client
 * @property {string} workload
 * @property {import('./clients.js').Library} library
 * @property {CompetitorResult[]} competitors
 */

/** @param {string} competitor */
export const nameOf = (competitor) =>
  competitorNames[/** @type {keyof typeof competitorNames} */ (competitor)];

/** @param {number} value */
export const digits = (value) =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

/** @param {Statistics} statistics */
export const ranged = ({ median, min, max }) => `${digits(median)} (${digits(min)}–${digits(max)})`;

/** @param {string} library */
const clientName = (library) => (library === 'node-redis' ? '`redis`' : '`ioredis`');

/**
 * @param {Result[]} results
 * @param {string} name
 */
function resultsOf(results, name) {
  const workload = workloads.find((each) => each.name === name);
  if (workload === undefined) throw new Error(`no workload ${name}`);
  return { workload, own: results.filter((result) => result.workload === name) };
}

/**
 * The targets of all workloads that were measured.
 *
 * @param {Result[]} results
 * @returns {Finding[]}
 */
export function judge(results) {
  return results.flatMap(({ workload: name, library, competitors }) => {
    const { workload } = resultsOf(results, name);
    return workload.targets.flatMap(({ side, against, atMost: limit, library: only }) => {
      if (only !== undefined && only !== library) return [];
      const atMost = typeof limit === 'number' ? limit : limit[library];
      const other =
        against === 'fastest library'
          ? competitors
              .filter(({ competitor }) => libraryNames.has(competitor))
              .sort((a, b) => a.cost[side].median - b.cost[side].median)[0]
          : competitors.find(({ competitor }) => competitor === against);
      if (other === undefined) return [];
      const ratio = other.ratio[side];
      const whose =
        against === 'fastest library' ? `the fastest library, ${nameOf(other.competitor)}` : nameOf(against);
      return [
        {
          what: `${workload.title}: ${side === 'redis' ? 'Redis' : 'process'}`,
          library,
          target: `≤ ${atMost} × ${whose}`,
          measured: `${ranged(ratio)} ×`,
          met: Math.round(ratio.median * 100) <= atMost * 100,
          figures: ratio,
        },
      ];
    });
  });
}

/** @param {Finding[]} findings */
export function targetTable(findings) {
  return table(
    ['what', 'client', 'target', 'measured', ''],
    findings.map(({ what, library, target, measured, met }) => [
      what,
      library === undefined ? '' : clientName(library),
      target,
      measured,
      met === undefined ? '' : met ? 'met' : '**missed**',
    ]),
  );
}

/**
 * The competitors of one workload.
 *
 * @param {Result[]} results
 * @param {string} name
 */
export function workloadTable(results, name) {
  const { workload, own } = resultsOf(results, name);
  const rows = own.flatMap(({ library, competitors }) =>
    competitors.map(({ competitor, cost, ratio }) => [
      competitor === 'rollcall' ? '**rollcall**' : nameOf(competitor),
      clientName(library),
      ranged(cost.client),
      competitor === 'rollcall' ? '' : `${ranged(ratio.client)} ×`,
      ranged(cost.redis),
      competitor === 'rollcall' ? '' : `${ranged(ratio.redis)} ×`,
    ]),
  );
  const head = [
    'competitor',
    'client',
    `process, µs per ${workload.unit}`,
    'rollcall needs',
    'Redis, µs',
    'rollcall needs',
  ];
  return table(head, rows, ['---', '---', '--:', '--:', '--:', '--:']);
}

/**
 * @param {string[]} head
 * @param {string[][]} rows
 * @param {string[]} [marks]
 */
export function table(head, rows, marks = head.map(() => '---')) {
  return [head, marks, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/**
 * A Markdown table made readable on a terminal.
 *
 * @param {string} markdown
 */
export function aligned(markdown) {
  const lines = markdown.split('\n').map((line) =>
    line
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.replaceAll('**', '').replaceAll('`', '')),
  );
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(...lines.map((line) => (/^-+:?$/.test(line[column] ?? '') ? 0 : (line[column]?.length ?? 0)))),
  );
  return lines
    .filter((line) => !/^-+:?$/.test(line[0] ?? ''))
    .map((line) =>
      line
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
