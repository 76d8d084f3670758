import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

async function bundle(folder: string) {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL(`../../../src/${folder}/index.ts`, import.meta.url))],
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

test('the event stream client has at most 3.2 kB minified and gzipped, and imports nothing from Node', async () => {
  const { code, size, inputs } = await bundle('event-stream');
  expect(code).not.toMatch(/node:|require\(|process\./);
  expect(inputs.filter((path) => !/src\/(client|event-stream|protocol)\//.test(path))).toEqual([]);
  expect(size).toBeLessThanOrEqual(3_200);
});
