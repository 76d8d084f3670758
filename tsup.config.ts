import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { build, transform } from 'esbuild';
import { defineConfig } from 'tsup';
import manifest from './package.json' with { type: 'json' };

/** The entry points below `rollcall/`; the other exports are files. */
const subpaths = Object.keys(manifest.exports)
  .map((path) => path.slice(2))
  .filter((name) => name !== '' && !/\.js(on)?$/.test(name));

/**
 * Writes the CommonJS files again, from those of ESM. tsup's own compiler for them takes the names of classes, which then
 * stand as `_class2` in stack traces, and makes a closure of every `??`.
 */
async function writeCommonJs(): Promise<void> {
  const names = await readdir('dist');
  await Promise.all(names.filter((name) => name.endsWith('.cjs')).map((name) => rm(`dist/${name}`)));
  const modules = names.filter((name) => /\.js$/.test(name) && !/^cli\.js$|\.min\.js$/.test(name));
  await Promise.all(
    modules.map(async (name) => {
      const source = (await readFile(`dist/${name}`, 'utf8')).replaceAll(
        /(["'])(\.\/[^"'\n]+)\.js\1/g,
        '"$2.cjs"',
      );
      // `import()` becomes `require`: test runners that load CommonJS in a context of their own have no other.
      const { code } = await transform(source, {
        format: 'cjs',
        platform: 'node',
        target: 'node20',
        supported: { 'dynamic-import': false },
      });
      await writeFile(`dist/${name.replace(/js$/, 'cjs')}`, code);
    }),
  );
}

/** tsup puts helpers before the directive, where bundlers no longer see it. */
async function putDirectiveFirst(): Promise<void> {
  const file = 'dist/react.cjs';
  const text = (await readFile(file, 'utf8')).replaceAll(/(["'])use client\1;?/g, '');
  await writeFile(file, `"use client";\n${text}`);
}

/**
 * Folders with a package.json each, for resolvers that do not read `exports`: TypeScript's `moduleResolution: node`, the
 * defaults of Parcel and of older versions of Metro.
 */
async function writeStubFolders(): Promise<void> {
  for (const name of subpaths) {
    await mkdir(name, { recursive: true });
    const manifest = {
      main: `../dist/${name}.cjs`,
      module: `../dist/${name}.js`,
      types: `../dist/${name}.d.cts`,
    };
    await writeFile(`${name}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
  }
}

/**
 * The client and the shared worker minified, for `<script type="module">` without a bundler. What the client imports when
 * it is needed is a file beside it.
 */
async function writeMinified(): Promise<void> {
  const options = {
    outdir: 'dist',
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    logLevel: 'warning',
  } as const;
  await Promise.all([
    build({
      ...options,
      entryPoints: { 'client.min': 'src/client/index.ts' },
      chunkNames: '[name].min',
      splitting: true,
    }),
    build({ ...options, entryPoints: { 'shared-worker.min': 'src/shared-worker/index.ts' } }),
  ]);
}

/** The program `rollcall`: one file of its own, so that the library carries nothing of it. */
async function writeCli(): Promise<void> {
  await build({
    entryPoints: ['src/cli/index.ts'],
    outfile: 'dist/cli.js',
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    loader: { '.lua': 'text' },
    banner: { js: '#!/usr/bin/env node' },
    logLevel: 'warning',
  });
  await chmod('dist/cli.js', 0o755);
}

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    ...Object.fromEntries(subpaths.map((name) => [name, `src/${name}/index.ts`])),
  },
  format: ['esm', 'cjs'],
  target: 'node20',
  // Shared chunks in both formats: an error thrown through `rollcall/testing` must be an
  // instance of the class that `rollcall` exports.
  splitting: true,
  // tsup sets a baseUrl that TypeScript 6 calls deprecated.
  dts: { compilerOptions: { ignoreDeprecations: '6.0' } },
  clean: true,
  loader: { '.lua': 'text' },
  // Keep `node:` on built-in modules, so that they can't be mistaken for packages.
  removeNodeProtocol: false,
  // Optional peers are never bundled, whatever imports them.
  external: ['@valkey/valkey-glide', 'redis', 'ioredis', 'ioredis-mock', 'msgpackr', 'react'],
  async onSuccess() {
    await writeCommonJs();
    await putDirectiveFirst();
    await Promise.all([writeStubFolders(), writeMinified(), writeCli()]);
  },
});
