import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

// The manual's code and links: what can be checked without a Redis.

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

interface Block {
  language: string;
  code: string;
  /** The file it claims to show. */
  source: string | undefined;
}

function blocksOf(text: string): Block[] {
  const found = text.matchAll(/(?:<!-- source: (\S+) -->\n)?```(\w+)\n([\s\S]*?)\n```/g);
  return [...found].map(([, source, language = '', code = '']) => ({ language, code, source }));
}

/** As GitHub makes them of headings. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  );
}

const read = (file: string): string => readFileSync(join(root, file), 'utf8');

test('there is something to check', () => {
  const blocks = pages.flatMap((page) => blocksOf(read(page)));
  expect(blocks.filter(({ language }) => language === 'js').length).toBeGreaterThan(10);
  expect(blocks.filter(({ source }) => source !== undefined).length).toBeGreaterThan(3);
});

describe.each(pages)('%s', (page) => {
  const text = read(page);
  const code = blocksOf(text).filter(({ language }) => language === 'js' || language === 'ts');

  test('its code parses', () => {
    const problems = code.flatMap((block) => {
      const { diagnostics = [] } = ts.transpileModule(block.code, {
        fileName: `block.${block.language === 'js' ? 'mjs' : 'mts'}`,
        reportDiagnostics: true,
        compilerOptions: { target: ts.ScriptTarget.ESNext, module: ts.ModuleKind.ESNext },
      });
      return diagnostics.map((each) => ts.flattenDiagnosticMessageText(each.messageText, '\n'));
    });
    expect(problems).toEqual([]);
  });

  test('it imports only what the package exports', async () => {
    const imports = code.flatMap((block) => [
      ...block.code.matchAll(/import \{([^}]*)\} from '(rollcall(?:\/[\w.]+)?)'/g),
    ]);
    const missing: string[] = [];
    for (const [, names = '', entry = ''] of imports) {
      const exported: object = await import(entry);
      for (const name of names.split(',').map((each) => each.trim())) {
        // Types are gone by now; the type checker looks after those of the examples.
        if (name !== '' && !name.startsWith('type ') && !(name in exported))
          missing.push(`${name} of ${entry}`);
      }
    }
    expect(missing).toEqual([]);
  });

  test('it shows its sources word for word', () => {
    for (const { source, code: shown } of code) {
      if (source !== undefined) expect(`${shown}\n`, source).toBe(read(source));
    }
  });

  test('its links lead somewhere', () => {
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
