import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

const folderPath = (folder: string) => fileURLToPath(new URL(`../../../src/${folder}`, import.meta.url));

async function bundle(folder: string) {
  const { outputFiles, metafile } = await build({
    entryPoints: [`${folderPath(folder)}/index.ts`],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    // What is imported when it is needed is a file of its own.
    splitting: true,
    chunkNames: '[name]',
    outdir: 'out',
    write: false,
    metafile: true,
  });
  const [entry] = Object.entries(metafile.outputs).find(([, { entryPoint }]) =>
    entryPoint?.endsWith('index.ts'),
  )!;
  const name = entry.slice(entry.lastIndexOf('/'));
  const needed = new Set([
    name,
    ...metafile.outputs[entry]!.imports.filter(({ kind }) => kind === 'import-statement').map(({ path }) =>
      path.slice(path.lastIndexOf('/')),
    ),
  ]);
  const code = outputFiles
    .filter(({ path }) => needed.has(path.slice(path.lastIndexOf('/'))))
    .map(({ text }) => text)
    .join('\n');
  return { code, size: gzipSync(code, { level: 9 }).length, inputs: Object.keys(metafile.inputs) };
}

test('the client bundle has at most 6 kB minified and gzipped, and imports nothing from Node', async () => {
  const { code, size, inputs } = await bundle('client');
  expect(code).toContain('rollcall.1');
  expect(code).not.toMatch(/node:|require\(|process\./);
  expect(inputs.filter((path) => !/src\/(client|protocol)\//.test(path))).toEqual([]);
  expect(size).toBeLessThanOrEqual(6_000);
});

test('the event stream client has at most 3.1 kB minified and gzipped, and imports nothing from Node', async () => {
  const { code, size, inputs } = await bundle('event-stream');
  expect(code).not.toMatch(/node:|require\(|process\./);
  expect(inputs.filter((path) => !/src\/(client|event-stream|protocol)\//.test(path))).toEqual([]);
  expect(size).toBeLessThanOrEqual(3_100);
});

test.each([
  ['page', 1_300, 'sharedWebSocket'],
  ['worker', 2_600, 'serveTabs'],
])('the %s of a shared worker needs at most %i bytes minified and gzipped', async (_, limit, name) => {
  const { outputFiles, metafile } = await build({
    stdin: { contents: `export { ${name} } from './index.ts'`, resolveDir: folderPath('shared-worker') },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    write: false,
    metafile: true,
  });
  const text = outputFiles.map((file) => file.text).join('');
  expect(text).not.toMatch(/node:|require\(|process\./);
  const inputs = Object.keys(metafile.inputs).filter((path) => path !== '<stdin>');
  expect(inputs.filter((path) => !/src\/(client|protocol|shared-worker)\//.test(path))).toEqual([]);
  expect(gzipSync(text, { level: 9 }).length).toBeLessThanOrEqual(limit);
});
