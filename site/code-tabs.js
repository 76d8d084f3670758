/** A fenced block with the comment or the caption (a line of bold text) directly above it. */
const BLOCK =
  /(?:(?<source><!-- source: \S+ -->)\n|\*\*(?<caption>[^*\n]+)\*\*\n\n?)?^```(?<language>\w+)\n(?<code>[\s\S]*?)\n```$/gm;

/**
 * Gives code blocks tabs:
 *
 * - Two or more blocks in a row, each under a line of bold text, become tabs with these names.
 * - A block that creates a node-redis client gets a second tab with the same code for ioredis. A block that shows a file stays alone.
 *
 * @param {string} text Markdown
 * @returns {string} Markdown with the code groups of VitePress
 */
export function toCodeTabs(text) {
  const runs = [];
  let end = -1;
  for (const match of text.matchAll(BLOCK)) {
    const { caption } = match.groups;
    const follows = end >= 0 && caption !== undefined && text.slice(end, match.index).trim() === '';
    if (follows && runs.at(-1)[0].groups.caption !== undefined) runs.at(-1).push(match);
    else runs.push([match]);
    end = match.index + match[0].length;
  }
  let page = '';
  let at = 0;
  for (const run of runs) {
    const [first] = run;
    const last = run.at(-1);
    page += text.slice(at, first.index) + tabsOf(run);
    at = last.index + last[0].length;
  }
  return page + text.slice(at);
}

function tabsOf(run) {
  const [{ 0: whole, groups }] = run;
  if (run.length > 1)
    return group(run.map(({ groups: { caption, language, code } }) => [caption, language, code]));
  if (groups.source !== undefined || groups.caption !== undefined) return whole;
  const ioredis = toIoredis(groups.code);
  if (ioredis === undefined) return whole;
  return group([
    ['node-redis', groups.language, groups.code],
    ['ioredis', groups.language, ioredis],
  ]);
}

function group(tabs) {
  const blocks = tabs.map(([title, language, code]) => `\`\`\`${language} [${title}]\n${code}\n\`\`\``);
  return `::: code-group\n\n${blocks.join('\n\n')}\n\n:::`;
}

/**
 * The same code with ioredis instead of node-redis.
 *
 * @param {string} code
 * @returns {string | undefined} undefined for code that uses another client, or more of node-redis than is converted here
 */
export function toIoredis(code) {
  if (!code.includes("import { createClient } from 'redis';")) return undefined;
  const converted = code
    .replace("import { createClient } from 'redis';", "import { Redis } from 'ioredis';")
    .replaceAll(
      /createClient\(\{ (?:url: ([^\n]+)|socket: ([^\n]+)) \}\)/g,
      (_, url, socket) => `new Redis(${url ?? socket})`,
    )
    .replaceAll('createClient()', 'new Redis()')
    .replaceAll('redis.destroy()', 'redis.disconnect()')
    .replaceAll('redis.close()', 'redis.quit()')
    .replaceAll(/ \/\/ node-redis [^\n]*/g, '');
  // Commands such as `hSet` have other names in ioredis.
  return /createClient|node-redis|redis\.[a-z]+[A-Z]/.test(converted) ? undefined : converted;
}
