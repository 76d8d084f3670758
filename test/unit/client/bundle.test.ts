import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

test('the client bundle has at most 6 kB minified and gzipped, and imports nothing from Node', async () => {
  const { outputFiles, metafile } = await build({
    entryPoints: [fileURLToPath(new URL('../../../src/client/index.ts', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    write: false,
    metafile: true,
  });
  const code = outputFiles[0]!.text;
  const inputs = Object.keys(metafile.inputs);
  expect(code).toContain('rollcall.1');
  expect(code).not.toMatch(/node:|require\(|process\./);
  expect(inputs.filter((path) => !/src\/(client|protocol)\//.test(path))).toEqual([]);
  expect(gzipSync(code, { level: 9 }).length).toBeLessThanOrEqual(6_000);
});
