// @ts-check
// What is installed, and what is then run. Versions are exact, so that a failure is one of this package.

/**
 * @typedef {object} Row
 * @property {string} group
 * @property {string} name
 * @property {'npm' | 'pnpm' | 'yarn' | 'yarn-pnp'} manager
 * @property {Record<string, string>} packages
 * @property {'peers' | 'nest' | 'types' | 'bundle'} kind
 * @property {string[][]} [commands] Run after the installation, in its folder; `node_modules/.bin` is on the PATH.
 * @property {Record<string, string>} [files]
 * @property {string} [serve] The folder with the built page; `next` runs a server of its own.
 * @property {string} [page] A program, instead of `page.js`.
 * @property {[resolution: string, module: string][]} [resolutions]
 */

const MANAGERS = { npm: '', pnpm: '12.21.0', yarn: '1.22.22', 'yarn-pnp': '4.18.1' };
export const TOOLS = {
  pnpm: `pnpm@${MANAGERS.pnpm}`,
  yarn: `yarn@${MANAGERS.yarn}`,
  'yarn-pnp': `@yarnpkg/cli-dist@${MANAGERS['yarn-pnp']}`,
};

const OLD = {
  ioredis: '4.31.0',
  redis: '5.12.1',
  'rate-limiter-flexible': '4.0.1',
  react: '17.0.2',
  'react-dom': '17.0.2',
  'socket.io': '3.1.2',
  'socket.io-client': '3.1.3',
  ws: '7.5.14',
};
const NEW = {
  ioredis: '6.0.0',
  redis: '6.3.1',
  'rate-limiter-flexible': '11.4.0',
  react: '19.3.1',
  'react-dom': '19.3.1',
  'socket.io': '4.8.4',
  'socket.io-client': '4.8.4',
  ws: '8.23.0',
};

/** @type {Row[]} */
const peers = [
  ['redis 3 beside ioredis 5', 'npm', { redis: '3.1.2', ioredis: '5.11.1' }],
  ['redis 4 beside ioredis 6', 'npm', { redis: '4.7.1', ioredis: '6.0.0' }],
  ['redis 5 beside ioredis 4', 'npm', { redis: '5.12.1', ioredis: '4.31.0' }],
  ['redis 6 beside ioredis 5', 'npm', { redis: '6.3.1', ioredis: '5.11.1' }],
  [
    'ws 7 and rate-limiter-flexible 4',
    'npm',
    { redis: '6.3.1', ws: '7.5.14', 'rate-limiter-flexible': '4.0.1' },
  ],
  ['Socket.IO 3', 'npm', { redis: '6.3.1', 'socket.io': '3.1.2', 'socket.io-client': '3.1.3' }],
  ['React 17', 'npm', { redis: '6.3.1', react: '17.0.2', 'react-dom': '17.0.2' }],
  ['React 18', 'npm', { redis: '6.3.1', react: '18.3.1', 'react-dom': '18.3.1' }],
  [
    'graphql-subscriptions 2',
    'npm',
    { redis: '6.3.1', 'graphql-subscriptions': '2.0.0', graphql: '16.15.0' },
  ],
  [
    'graphql-subscriptions 3',
    'npm',
    { redis: '6.3.1', 'graphql-subscriptions': '3.0.0', graphql: '16.15.0' },
  ],
  ['old peers', 'npm', OLD],
  ['old peers', 'pnpm', OLD],
  ['old peers', 'yarn', OLD],
  ['new peers', 'npm', NEW],
  ['new peers', 'pnpm', NEW],
  ['new peers', 'yarn-pnp', NEW],
].map(
  ([name, manager, packages]) =>
    /** @type {Row} */ ({ group: 'peers', kind: 'peers', name, manager, packages }),
);

/** Versions of @nestjs/websockets, which has its own. @type {Record<string, string>} */
const WEBSOCKETS = { '11.2.10': '11.2.6', '12.5.1': '12.1.1' };

/** @type {Row[]} */
const nest = ['10.4.22', '11.2.10', '12.5.1'].map((version) => {
  const sockets = WEBSOCKETS[version] ?? version;
  return {
    group: 'NestJS',
    kind: 'nest',
    name: `Nest ${version}`,
    manager: 'npm',
    packages: {
      '@nestjs/common': version,
      '@nestjs/core': version,
      '@nestjs/platform-express': version,
      '@nestjs/websockets': sockets,
      'reflect-metadata': '0.2.2',
      rxjs: '7.8.2',
      redis: '6.3.1',
      ws: '8.23.0',
    },
  };
});

/** @type {Row[]} */
const types = ['5.4.5', '5.6.3', '5.9.3', '6.0.3', '7.0.2'].map((version) => ({
  group: 'TypeScript',
  kind: 'types',
  name: `TypeScript ${version}`,
  manager: 'npm',
  packages: {
    typescript: version,
    '@types/node': '20.19.0',
    '@types/react': '19.3.3',
    '@types/ws': '8.18.2',
    '@valkey/valkey-glide': '2.5.2',
    ioredis: '5.11.1',
    react: '19.3.1',
    redis: '6.3.1',
    ws: '8.23.0',
  },
  // TypeScript 7 has removed the resolution `node`.
  resolutions: [
    ...(version.startsWith('7') ? [] : [/** @type {[string, string]} */ (['node', 'commonjs'])]),
    ['node16', 'node16'],
    ['nodenext', 'nodenext'],
    ['bundler', 'esnext'],
  ],
}));

const REACT = { react: '19.3.1', 'react-dom': '19.3.1' };
const HTML = '<!doctype html><title>chat</title><script type="module" src="./page.js"></script>';

const SHARED_HTML =
  '<!doctype html><title>chat</title><script type="module" src="./shared-page.ts"></script>';

const METRO = {
  node: '22.23.3', // Metro needs it
  metro: '0.87.1',
  '@babel/core': '7.29.13',
  '@react-native/metro-babel-transformer': '0.88.1',
  '@react-native/babel-preset': '0.88.1',
};
const BABEL = "module.exports = { presets: ['module:@react-native/babel-preset'] };\n";
const NEXT_PAGE = `'use client';
import '../page.js';
export default () => <p>chat</p>;
`;
const NEXT_ROUTE = `import { PubSubService } from 'rollcall';
import { connect } from 'rollcall/client';
export const dynamic = 'force-dynamic';
export const GET = () => Response.json({ loaded: typeof PubSubService === 'function' && typeof connect === 'function' });
`;

/** @type {Row[]} */
const bundlers = [
  {
    name: 'Vite 8.4.0',
    packages: { vite: '8.4.0' },
    files: { 'index.html': HTML },
    commands: [['vite', 'build', '--outDir', 'out']],
  },
  {
    name: 'webpack 5.113.0',
    packages: { webpack: '5.113.0', 'webpack-cli': '7.3.1' },
    commands: [
      [
        'webpack',
        '--mode',
        'production',
        '--entry',
        './page.js',
        '--output-path',
        'out',
        '--output-filename',
        'page.js',
      ],
    ],
  },
  {
    name: 'esbuild 0.28.2',
    packages: { esbuild: '0.28.2' },
    commands: [
      [
        'esbuild',
        'page.js',
        '--bundle',
        '--splitting',
        '--format=esm',
        '--outdir=out',
        '--define:process.env.NODE_ENV="production"',
      ],
    ],
  },
  {
    name: 'Rollup 4.68.8',
    packages: {
      rollup: '4.68.8',
      '@rollup/plugin-node-resolve': '16.0.3',
      '@rollup/plugin-commonjs': '29.0.3',
      '@rollup/plugin-replace': '6.0.3',
    },
    files: {
      'rollup.config.js': `import commonjs from '@rollup/plugin-commonjs';
import resolve from '@rollup/plugin-node-resolve';
import replace from '@rollup/plugin-replace';
export default {
  input: 'page.js',
  output: { dir: 'out' },
  plugins: [replace({ preventAssignment: true, 'process.env.NODE_ENV': '"production"' }), resolve({ browser: true }), commonjs()],
};`,
    },
    commands: [['rollup', '--config']],
  },
  {
    // Its default does not read `exports`.
    name: 'Parcel 2.16.4',
    packages: { parcel: '2.16.4' },
    files: { 'index.html': HTML },
    commands: [['parcel', 'build', 'index.html', '--dist-dir', 'out', '--no-source-maps']],
  },
  {
    name: 'Vite 8.4.0, shared worker',
    packages: { vite: '8.4.0' },
    files: { 'index.html': SHARED_HTML },
    commands: [['vite', 'build', '--outDir', 'out']],
    page: 'shared-page.ts',
  },
  {
    name: 'webpack 5.113.0, shared worker',
    packages: { webpack: '5.113.0', 'webpack-cli': '7.3.1', 'ts-loader': '9.6.2', typescript: '5.9.3' },
    files: {
      'webpack.config.cjs': `module.exports = {
  mode: 'production',
  entry: './shared-page.ts',
  output: { path: __dirname + '/out', filename: 'page.js' },
  module: { rules: [{ test: /\\.ts$/, loader: 'ts-loader' }] },
};`,
      'tsconfig.json': `{
  "compilerOptions": {
    "strict": true,
    "target": "es2022",
    "lib": ["es2022", "dom"],
    "module": "esnext",
    "moduleResolution": "bundler",
    "types": []
  }
}`,
    },
    commands: [['webpack', '--config', 'webpack.config.cjs']],
    page: 'shared-page.ts',
  },
  {
    name: 'Parcel 2.16.4, shared worker',
    packages: { parcel: '2.16.4' },
    files: { 'index.html': SHARED_HTML },
    commands: [['parcel', 'build', 'index.html', '--dist-dir', 'out', '--no-source-maps']],
    page: 'shared-page.ts',
  },
  {
    name: 'Metro 0.87.1, for the web',
    packages: METRO,
    files: { 'babel.config.cjs': BABEL },
    commands: [['node', 'metro.cjs', 'page.js', 'out/page.js', 'web', 'exports']],
  },
  ...['exports', 'folders'].map((mode) => ({
    name: `Metro 0.87.1, React Native 0.88.1's URL, ${mode === 'exports' ? 'with' : 'without'} \`exports\``,
    packages: { ...METRO, ws: '8.23.0' },
    files: { 'babel.config.cjs': BABEL },
    commands: [['node', 'metro.cjs', 'page.js', 'out/page.js', 'android', mode]],
    serve: 'react-native',
  })),
  {
    name: 'Next 16.4.6',
    packages: { next: '16.4.6', redis: '6.3.1' },
    files: {
      'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>;\n',
      'app/page.js': NEXT_PAGE,
      'app/online/route.js': NEXT_ROUTE,
    },
    commands: [['next', 'build']],
    serve: 'next',
  },
].map(
  (row) =>
    /** @type {Row} */ ({
      group: 'bundlers',
      kind: 'bundle',
      manager: 'npm',
      serve: 'out',
      ...row,
      packages: { ...REACT, ...row.packages },
    }),
);

export const rows = [...peers, ...nest, ...types, ...bundlers];
