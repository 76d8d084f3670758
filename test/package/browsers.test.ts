import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

// The baseline of docs/client.md.

const BASELINE = ['chrome92', 'edge92', 'firefox90', 'safari15.4'];

/** An entry point with all that it imports, in the syntax of `target`. */
async function bundle(file: string, target: string[]): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(`../../dist/${file}`, import.meta.url))],
    external: ['react'],
    bundle: true,
    write: false,
    format: 'esm',
    logLevel: 'silent',
    target,
  });
  return outputFiles[0]?.text ?? '';
}

test.each([
  'client.js',
  'client.min.js',
  'event-stream.js',
  'react.js',
  'shared-worker.js',
  'shared-worker.min.js',
])('dist/%s has no syntax that the oldest supported browsers lack', async (file) => {
  const asBuilt = await bundle(file, ['esnext']);
  expect(await bundle(file, BASELINE)).toBe(asBuilt);
  // The comparison finds newer syntax: browsers of 2019 lack some of it.
  expect(await bundle(file, ['chrome70'])).not.toBe(asBuilt);
});
