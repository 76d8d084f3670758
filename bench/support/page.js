// @ts-check
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { competitorNames, workloads } from '../workloads.js';
import { bars } from './plot.js';
import { digits, judge, nameOf, table, targetTable, workloadTable } from './report.js';

/** @typedef {import('./report.js').Result} Result */
/** @typedef {import('../measurements/measurement.js').Finding} Finding */

const PAGE = new URL('../../docs/benchmarks.md', import.meta.url);
export const SIZING = new URL('../../docs/sizing.md', import.meta.url);
const PLOTS = new URL('../../docs/benchmarks/', import.meta.url);

/**
 * @param {string} section
 * @param {URL} url
 */
function findSection(section, url) {
  const [begin, end] = [`<!-- ${section} -->`, `<!-- /${section} -->`];
  const page = readFileSync(url, 'utf8');
  const from = page.indexOf(begin) + begin.length;
  const to = page.indexOf(end);
  if (from < begin.length || to < from) throw new Error(`${url.pathname} lacks the markers of ${section}`);
  return { page, from, to };
}

/**
 * The text between two markers of a page.
 *
 * @param {string} section
 */
export function readSection(section, url = PAGE) {
  const { page, from, to } = findSection(section, url);
  return page.slice(from, to).trim();
}

/**
 * Puts a text between two markers of a page.
 *
 * @param {string} section
 * @param {string} text
 */
export function writeSection(section, text, url = PAGE) {
  const { page, from, to } = findSection(section, url);
  writeFileSync(url, `${page.slice(0, from)}\n\n${text}\n\n${page.slice(to)}`);
}

/**
 * @param {string} name
 * @param {string} content
 */
export function writePlot(name, content) {
  mkdirSync(PLOTS, { recursive: true });
  writeFileSync(new URL(`${name}.svg`, PLOTS), content);
  return `benchmarks/${name}.svg`;
}

/**
 * The results in docs/benchmarks.md, and their plots.
 *
 * @param {{ about: string, results: Result[], findings: Finding[] }} outcome
 */
export function writeResults({ about, results, findings }) {
  writeSection('targets', `${about}\n\n${targetTable([...judge(results), ...findings])}`);
  const measured = workloads.filter(({ name }) => results.some(({ workload }) => workload === name));
  const parts = measured.map(({ name, title, unit }) => {
    const groups = results
      .filter(({ workload }) => workload === name)
      .map(({ library, competitors }) => ({
        name: `with ${library === 'node-redis' ? 'redis' : library}`,
        bars: competitors.map(({ competitor, cost }) => ({
          name: nameOf(competitor),
          own: competitor === 'rollcall',
          client: cost.client.median,
          redis: cost.redis.median,
        })),
      }));
    const plot = writePlot(name, bars({ title: title.replaceAll('`', ''), unit, groups }));
    const alt = `${competitorNames.rollcall} and others: ${title.replaceAll('`', '')}`;
    return `### ${title[0]?.toUpperCase()}${title.slice(1)}\n\n![${alt}](${plot})\n\n${workloadTable(results, name)}`;
  });
  writeSection('results', parts.join('\n\n'));
  writeSection('measured', `${about}\n\n${sizingTables(results, findings)}`, SIZING);
}

/** The workloads whose costs docs/sizing.md shows. */
const SIZED = [
  'presence',
  'storm',
  'leave',
  'lookup-100',
  'lookup-1000',
  'publish',
  'publish-history',
  'notify',
];

/**
 * The figures behind docs/sizing.md: memory of Redis, and the cost of operations.
 *
 * @param {Result[]} results
 * @param {(Finding & { measure?: string })[]} findings
 */
function sizingTables(results, findings) {
  const memory = findings
    .filter(({ measure }) => measure === 'memory')
    .map(({ what, measured }) => [what, measured]);
  const costs = results
    .filter(({ workload }) => SIZED.includes(workload))
    .map(({ workload: name, library, competitors }) => {
      const workload = workloads.find((each) => each.name === name);
      const cost = competitors.find(({ competitor }) => competitor === 'rollcall')?.cost;
      if (workload === undefined || cost === undefined) throw new Error(`no result of ${name}`);
      const client = library === 'node-redis' ? '`redis`' : '`ioredis`';
      return [
        `${workload.title}, per ${workload.unit}`,
        client,
        digits(cost.redis.median),
        digits(cost.client.median),
      ];
    });
  return [
    table(['memory of Redis', 'measured'], memory, ['---', '--:']),
    table(['cost', 'client', 'µs in Redis', 'µs in the process'], costs, ['---', '---', '--:', '--:']),
  ].join('\n\n');
}
