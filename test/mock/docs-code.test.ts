import { expect, test } from 'vitest';
// @ts-expect-error: the site's build is plain JavaScript
import { toIoredis } from '../../site/code-tabs.js';
import { blocksOf, checkDocs, checkExamples, pages } from '../support/docs-code.js';

// Type-checks the code of README, the guides and the examples with the options of tsconfig.json.

const page = (...blocks: string[]): string => blocks.map((code) => `\`\`\`js\n${code}\n\`\`\`\n`).join('\n');

/** Wrong code and the error it must cause, by page. */
const sabotaged = new Map([
  ['docs/rooms.md', ['rooms.brodcast("lobby", "message", {});', "Property 'brodcast' does not exist"]],
  ['docs/sse.md', ["pubsub.publish('news', 1, { timout: 5 });", "'timout' does not exist"]],
  ['docs/typing.md', ["import { nothing } from 'rollcall';", "has no exported member 'nothing'"]],
  [
    'docs/client.md',
    ["import { PubSubService } from 'rollcall/client';", "no exported member 'PubSubService'"],
  ],
  ['docs/react.md', ["import type { Messge } from 'rollcall';", "no exported member 'Messge'"]],
  [
    'docs/faults.md',
    ['const list: number[] = [1];\nconst n: number = list[0];', "'undefined' is not assignable"],
  ],
  ['docs/errors.md', ['const given = (name) => name;', "implicitly has an 'any' type"]],
  ['docs/channels.md', ['rooms.close();', "Cannot find name 'rooms'"]],
  ['docs/history.md', ['const broken = ;', 'Expression expected']],
  ['docs/testing.md', ["import { createServer } from 'node:http';\nawait createServer().listn();", 'listn']],
] as [string, [string, string]][]);

const shown = (problems: ReturnType<typeof checkDocs>): string[] =>
  problems.map(({ page, line, message }) => `${page}:${line}: ${message}`);

test('every kind of mistake in a block is found', { timeout: 120_000 }, () => {
  const wrong = new Map([...sabotaged].map(([name, [code]]) => [name, page(code)]));
  expect(checkDocs(wrong).map(({ page, message }) => ({ page, message }))).toEqual(
    [...sabotaged].map(([name, [, message]]) => ({ page: name, message: expect.stringContaining(message) })),
  );
});

/** The code that a page has on the site for ioredis, in the place of its code for node-redis. */
function forIoredis(name: string, text: string): string[] {
  const blocks = blocksOf(name, text).filter(({ source }) => source === undefined);
  return blocks.map(({ code }) => toIoredis(code) as string | undefined).filter((code) => code !== undefined);
}

test('all code of README and the guides type-checks as ES modules, also what the site converts to ioredis', {
  timeout: 120_000,
}, () => {
  const blocks = [...pages].flatMap(([name, text]) => blocksOf(name, text));
  expect(blocks.filter(({ language }) => ['js', 'ts', 'tsx'].includes(language)).length).toBeGreaterThan(80);
  const converted = [...pages].flatMap(([name, text]) => forIoredis(name, text));
  expect(converted.length).toBeGreaterThan(20);
  const both = new Map(
    [...pages].map(([name, text]) => [name, `${text}\n${page(...forIoredis(name, text))}`]),
  );
  expect(shown(checkDocs(both))).toEqual([]);
});

test('all code of README and the guides type-checks as CommonJS', { timeout: 120_000 }, () => {
  expect(shown(checkDocs(pages, 'commonjs'))).toEqual([]);
});

test('all examples type-check', { timeout: 600_000 }, () => {
  expect(checkExamples()).toEqual([]);
});
