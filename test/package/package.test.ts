import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { afterAll, describe, expect, test } from 'vitest';

// Loads the built package as its users do. Needs `npm run build`, which `npm test` runs first.

const root = fileURLToPath(new URL('../../', import.meta.url));

type Exports = string | { [condition: string]: Exports };
const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  exports: { [entry: string]: Exports };
  peerDependencies: Record<string, string>;
  bin: Record<string, string>;
  main: string;
  module: string;
  types: string;
};

const filesOf = (target: Exports): string[] =>
  typeof target === 'string' ? [target] : Object.values(target).flatMap(filesOf);

/** Runs a module in a fresh node, which finds the package through its own `exports`. */
async function run(type: 'module' | 'commonjs', source: string, cwd = root): Promise<unknown> {
  const args = [`--input-type=${type}`, '--eval', source];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd });
  return JSON.parse(stdout);
}

test('every file that package.json names exists', () => {
  const files = [
    ...Object.values(manifest.bin),
    manifest.main,
    manifest.module,
    manifest.types,
    ...filesOf(manifest.exports),
  ];
  expect(files.filter((file) => !existsSync(root + file))).toEqual([]);
});

test('the tarball holds the build and the guides, but no sources, tests, examples or site', async () => {
  const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
  const { stdout } = await promisify(execFile)('npm', args, { cwd: root, maxBuffer: 16 * 1024 * 1024 });
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const entryFolders = Object.keys(manifest.exports).flatMap(
    (entry) => /^\.\/([\w-]+(\.io)?)$/.exec(entry)?.[1] ?? [],
  );
  expect(new Set(files.map(({ path }) => path.split('/')[0]))).toEqual(
    new Set(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', 'dist', 'docs', ...entryFolders]),
  );
  expect(
    files
      .map(({ path }) => path)
      .filter((path) => /^docs\/(?!\w[\w-]*\.(md|svg)$|benchmarks\/[\w-]+\.svg$)/.test(path)),
  ).toEqual([]);
});

const entries = Object.keys(manifest.exports).filter((entry) => !/\.js(on)?$/.test(entry));

/** Problems that TypeScript finds in a file that uses the package, under the given resolution. */
function problemsOf(code: string, options: ts.CompilerOptions): string[] {
  const folder = mkdtempSync(join(root, '.tmp-types-'));
  try {
    const installed = join(folder, 'node_modules/rollcall');
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, installed, 'junction');
    const file = join(folder, 'index.ts');
    writeFileSync(file, code);
    const program = ts.createProgram([file], {
      strict: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      types: [],
      preserveSymlinks: true,
      ...options,
    });
    return ts
      .getPreEmitDiagnostics(program)
      .map((each) => ts.flattenDiagnosticMessageText(each.messageText, '\n'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('classes have their names in both builds, also in stack traces', async () => {
  const check = `console.log(JSON.stringify([
    inspect(new rollcall.InvalidArgumentError('name', 'is wrong')).split('\\n')[0],
    rollcall.PresenceService.name,
  ]));`;
  const names = ['InvalidArgumentError: name: is wrong', 'PresenceService'];
  const load = `const rollcall = require('rollcall'); const { inspect } = require('node:util');`;
  expect(await run('commonjs', `${load}${check}`)).toEqual(names);
  const imports = `import * as rollcall from 'rollcall'; import { inspect } from 'node:util';`;
  expect(await run('module', `${imports}${check}`)).toEqual(names);
});

test('subpaths resolve without `exports` support', () => {
  const code = entries
    .map(
      (entry, at) =>
        `import * as entry${at} from '${entry.replace(/^\./, 'rollcall')}'; export { entry${at} };`,
    )
    .join('\n');
  expect(
    problemsOf(code, {
      module: ts.ModuleKind.CommonJS,
      moduleResolution: ts.ModuleResolutionKind.Node10,
      ignoreDeprecations: '6.0',
      skipLibCheck: true,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts'],
    }),
  ).toEqual([]);
});

test('without `exports` support, the entry points share their types', () => {
  const code = `import { createRollcall, type RedisClient } from 'rollcall';
import { serveWebSocket, type WebSocketServerLike } from 'rollcall/ws';
import { GraphQLPubSub } from 'rollcall/graphql';
export const serve = (redis: RedisClient, server: WebSocketServerLike) => {
  const { rooms, pubsub } = createRollcall({ redis });
  new GraphQLPubSub({ pubsub });
  return serveWebSocket(server, { rooms, authenticate: () => null, authorize: () => true });
};`;
  expect(
    problemsOf(code, {
      module: ts.ModuleKind.CommonJS,
      moduleResolution: ts.ModuleResolutionKind.Node10,
      ignoreDeprecations: '6.0',
      skipLibCheck: true,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts'],
    }),
  ).toEqual([]);
});

test('the types of the client do not depend on the types of Node', () => {
  const code = `import { connect } from 'rollcall/client'; export const client = connect({ url: 'ws://127.0.0.1' });`;
  expect(
    problemsOf(code, {
      module: ts.ModuleKind.ESNext,
      moduleResolution: ts.ModuleResolutionKind.Bundler,
      lib: ['lib.es2022.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    }),
  ).toEqual([]);
});

// Type parameters that the standard types of TypeScript 5.4 have. Newer versions have more, and write them where they infer a type.
const PARAMETERS: Record<string, number> = {
  Iterable: 1,
  IterableIterator: 1,
  Iterator: 3,
  AsyncIterable: 1,
  AsyncIterableIterator: 1,
  AsyncIterator: 3,
  ArrayBufferView: 0,
  DataView: 0,
  Uint8Array: 0,
  Buffer: 0,
};
/** Standard types that TypeScript 5.4 does not have. */
const UNKNOWN =
  /^(((Async)?Iterator|Map|Set|Array|RegExpString)Iterator|(Async)?IteratorObject|BuiltinIterator\w*)$/;

/** Uses of types that TypeScript 5.4 refuses. test/installs compiles the declarations with that version. */
function newerTypes(text: string): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node) => {
    if (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)) {
      const name = (ts.isTypeReferenceNode(node) ? node.typeName : node.expression).getText();
      const limit = Object.hasOwn(PARAMETERS, name) ? PARAMETERS[name] : undefined;
      if (UNKNOWN.test(name) || (node.typeArguments?.length ?? 0) > (limit ?? Infinity)) {
        found.push(node.getText());
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('index.d.ts', text, ts.ScriptTarget.ES2022, true));
  return found;
}

test('the declarations use no type that TypeScript 5.4 lacks', () => {
  expect(
    newerTypes(
      'interface A extends AsyncIterableIterator<1, undefined> { a: MapIterator<1>; b: Uint8Array<ArrayBuffer> }',
    ),
  ).toEqual(['AsyncIterableIterator<1, undefined>', 'MapIterator<1>', 'Uint8Array<ArrayBuffer>']);
  const files = readdirSync(`${root}dist`).filter((file) => /\.d\.c?ts$/.test(file));
  expect(files).not.toEqual([]);
  expect(
    files.flatMap((file) =>
      newerTypes(readFileSync(`${root}dist/${file}`, 'utf8')).map((type) => [file, type]),
    ),
  ).toEqual([]);
});

test('`rollcall` runs outside of the repository, and without a client library says so in one line', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-bin-'));
  try {
    const installed = join(folder, 'node_modules/rollcall');
    for (const part of ['package.json', 'dist']) {
      cpSync(join(root, part), join(installed, part), { recursive: true });
    }
    const bin = join(installed, manifest.bin['rollcall'] ?? '');
    expect(readFileSync(bin, 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    const runBin = (...args: string[]) => promisify(execFile)(bin, args, { cwd: folder });
    const { version } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { version: string };
    expect(await runBin('--version')).toEqual({ stdout: `${version}\n`, stderr: '' });
    await expect(runBin('doctor')).rejects.toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^rollcall: neither redis nor ioredis is installed in .+\n$/),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('"use client" is the first statement of the hooks', () => {
  for (const file of ['dist/react.js', 'dist/react.cjs']) {
    expect(readFileSync(`${root}${file}`, 'utf8'), file).toMatch(/^["']use client["'];/);
  }
});

test.each([
  ['module', `await import('rollcall/react').catch(({ message }) => console.log(JSON.stringify(message)))`],
  [
    'commonjs',
    `try { require('rollcall/react') } catch ({ message }) { console.log(JSON.stringify(message)) }`,
  ],
] as const)('with React 17, the hooks say which version they need (%s)', async (type, source) => {
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-react-'));
  try {
    const modules = join(folder, 'node_modules');
    for (const part of ['package.json', 'dist']) {
      cpSync(join(root, part), join(modules, 'rollcall', part), { recursive: true });
    }
    mkdirSync(join(modules, 'react'));
    writeFileSync(
      join(modules, 'react/index.js'),
      `exports.version = '17.0.2'; exports.createElement = exports.useContext = exports.useEffect = exports.useMemo =
        exports.useCallback = exports.useRef = () => {}; exports.createContext = () => ({});`,
    );
    expect(await run(type, source, folder)).toBe(
      'rollcall/react needs React 18 or later; React 17.0.2 is installed',
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the build has no source maps, and no file refers to one', () => {
  const files = readdirSync(`${root}dist`);
  expect(files.filter((file) => file.endsWith('.map'))).toEqual([]);
  const referring = files
    .filter((file) => /\.c?js$/.test(file))
    .filter((file) => readFileSync(`${root}dist/${file}`, 'utf8').includes('sourceMappingURL'));
  expect(referring).toEqual([]);
});

test('optional peers accept any version, because npm refuses to install a range beside another major version', () => {
  expect(Object.entries(manifest.peerDependencies).filter(([, range]) => range !== '*')).toEqual([]);
});

describe.each(entries.map((entry) => entry.replace(/^\./, 'rollcall')))('%s', (name) => {
  test('import and require export the same names', async () => {
    const print = 'console.log(JSON.stringify(Object.keys(all).sort()))';
    const [imported, required] = await Promise.all([
      run('module', `import * as all from '${name}'; ${print}`),
      run('commonjs', `const all = require('${name}'); ${print}`),
    ]);
    expect(imported).not.toEqual([]);
    expect(required).toEqual(imported);
  });
});

test.each([
  ['module', `import * as a from 'rollcall'; import * as b from 'rollcall/testing';`],
  ['commonjs', `const a = require('rollcall'); const b = require('rollcall/testing');`],
] as const)('what both entry points export is the same thing (%s)', async (type, load) => {
  const print = 'console.log(JSON.stringify(Object.keys(a).filter((key) => key in b && a[key] !== b[key])))';
  expect(await run(type, `${load} ${print}`)).toEqual([]);
});

describe('without a Redis client', () => {
  // Every client is optional: an application installs one of them, and only tests need ioredis-mock.
  const elsewhere = mkdtempSync(join(tmpdir(), 'rollcall-package-'));
  afterAll(() => rmSync(elsewhere, { recursive: true, force: true }));

  test.each([
    ['module', `await import('rollcall'); await import('rollcall/testing');`],
    ['commonjs', `require('rollcall'); require('rollcall/testing');`],
  ] as const)('it loads (%s)', async (type, load) => {
    const installed = join(elsewhere, 'node_modules/rollcall');
    for (const part of ['package.json', 'dist']) {
      cpSync(join(root, part), join(installed, part), { recursive: true });
    }
    expect(await run(type, `${load} console.log('true')`, elsewhere)).toBe(true);
  });
});
