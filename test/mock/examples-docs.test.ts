import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blocksOf, pages, root } from '../support/docs-code.js';

// Checks the sources and links of README and the guides. docs-code.test.ts type-checks their code.

/** The anchors that GitHub derives from headings, and those set by hand. */
function anchorsOf(text: string): string[] {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  );
  return [...headings, ...[...text.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id)];
}

const read = (file: string): string => readFileSync(join(root, file), 'utf8');

test('the guides show files of the repository', () => {
  const blocks = [...pages].flatMap(([page, text]) => blocksOf(page, text));
  expect(blocks.filter(({ source }) => source !== undefined).length).toBeGreaterThan(3);
});

describe.each([...pages])('%s', (page, text) => {
  test('shows its sources word for word', () => {
    for (const { source, code } of blocksOf(page, text)) {
      if (source !== undefined) expect(`${code}\n`, source).toBe(read(source));
    }
  });

  test('has links that lead to existing files and headings', () => {
    const targets = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
    const broken = targets.filter((target) => {
      if (/^https?:/.test(target)) return false;
      const [path = '', anchor] = target.split('#');
      const file = path === '' ? page : relative(root, join(root, dirname(page), path));
      if (!existsSync(join(root, file))) return true;
      return anchor !== undefined && !anchorsOf(read(file)).includes(anchor);
    });
    expect(broken).toEqual([]);
  });
});

test.each(['README.md', 'docs/entry-points.md'])('%s names every entry point', (page) => {
  const { exports } = JSON.parse(read('package.json')) as { exports: object };
  const names = Object.keys(exports)
    .filter((path) => path !== './package.json')
    .map((path) => path.replace(/^\./, 'rollcall'));
  expect(names.length).toBeGreaterThan(12);
  expect(names.filter((name) => !read(page).includes(`\`${name}\``))).toEqual([]);
});

test('guides and examples close on signals with closeOnSignals', () => {
  const found = [...pages].filter(([, text]) => /process\.(?:on|once)\(\s*(?:'SIG|signal)/.test(text));
  expect(found.map(([page]) => page)).toEqual([]);
});
