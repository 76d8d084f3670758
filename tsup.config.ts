import { defineConfig } from 'tsup';

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    ...Object.fromEntries(
      ['client', 'msgpack', 'react', 'socket.io', 'sse', 'testing', 'ws'].map((name) => [
        name,
        `src/${name}/index.ts`,
      ]),
    ),
  },
  format: ['esm', 'cjs'],
  target: 'node20',
  // Shared chunks in both formats: an error thrown through `rollcall/testing` must be an
  // instance of the class that `rollcall` exports.
  splitting: true,
  // tsup sets a baseUrl that TypeScript 6 calls deprecated.
  dts: { compilerOptions: { ignoreDeprecations: '6.0' } },
  sourcemap: true,
  clean: true,
  loader: { '.lua': 'text' },
  // Keep `node:` on built-in modules, so that they can't be mistaken for packages.
  removeNodeProtocol: false,
  // Optional peers are never bundled, whatever imports them.
  external: ['redis', 'ioredis', 'ioredis-mock', 'msgpackr', 'react'],
});
