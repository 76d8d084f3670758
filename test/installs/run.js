// @ts-check
// Installs the packed package in the projects of rows.js, one after the other, uses it there, and prints a table. Not a part of
// the test projects: it downloads the packages. Needs `npm run build`, redis-server and Chromium:
//   node test/installs/run.js [part of a name…]
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { createRollcall } from 'rollcall';
import { createHttpHandler } from 'rollcall/server';
import { createEmbeddedRedis } from 'rollcall/testing';
import { serveWebSocket } from 'rollcall/ws';
import { WebSocketServer } from 'ws';
import { rows, TOOLS } from './rows.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const programs = join(root, 'test/installs/programs');
const LIMIT = 300_000; // ms, for one command
const wanted = process.argv.slice(2);
const work = mkdtempSync(join(tmpdir(), 'rollcall-installs-'));

/** @typedef {import('./rows.js').Row} Row */

/**
 * Resolves with the output; rejects with it if the command fails.
 *
 * @param {string[]} command
 * @param {string} cwd
 * @param {NodeJS.ProcessEnv} [env]
 */
async function run([program = '', ...args], cwd, env) {
  const bin = join(cwd, 'node_modules/.bin');
  const child = spawn(program, args, {
    cwd,
    env: {
      ...process.env,
      PATH: bin + delimiter + process.env['PATH'],
      CI: 'true',
      NEXT_TELEMETRY_DISABLED: '1',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data));
  const [code] = await once(child, 'close');
  if (code !== 0)
    throw Object.assign(
      new Error(`${program} ${args.slice(0, 3).join(' ')} (exit ${code})\n${output.slice(-3_000)}`),
      { output },
    );
  return output;
}

/** @param {string} command */
const tool = (command) => join(work, 'tools/node_modules/.bin', command);

/**
 * Installs with the manager of the row, and returns warnings that name this package.
 *
 * @param {Row} row
 * @param {string} folder
 */
async function install({ manager, packages }, folder) {
  const manifest = {
    private: true,
    type: 'module',
    dependencies: { rollcall: `file:${join(work, 'rollcall.tgz')}`, ...packages },
  };
  writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest, null, 2));
  if (manager === 'yarn-pnp') {
    const registry = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout.trim();
    const settings = {
      nodeLinker: 'pnp',
      npmRegistryServer: registry,
      enableTelemetry: false,
      enableGlobalCache: false,
      enableScripts: false,
      enableImmutableInstalls: false,
    };
    writeFileSync(
      join(folder, '.yarnrc.yml'),
      Object.entries(settings)
        .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
        .join(''),
    );
    writeFileSync(join(folder, 'yarn.lock'), '');
  }
  const command = {
    npm: ['npm', 'install', '--no-audit', '--no-fund', '--ignore-scripts'],
    pnpm: [tool('pnpm'), 'install', '--ignore-scripts', '--store-dir', join(work, 'store')],
    yarn: [
      'node',
      join(work, 'tools/node_modules/yarn/bin/yarn.js'),
      'install',
      '--ignore-scripts',
      '--no-lockfile',
      '--cache-folder',
      join(work, 'yarn-cache'),
    ],
    'yarn-pnp': ['node', join(work, 'tools/node_modules/@yarnpkg/cli-dist/bin/yarn.js'), 'install'],
  }[manager];
  const output = await run(command, folder);
  return output
    .split('\n')
    .filter(
      (line) => /warn|unmet|incorrect/i.test(line) && /rollcall(?!-installs)/.test(line.replaceAll(work, '')),
    );
}

/**
 * @param {Row} row
 * @param {string} folder
 */
async function usePeers({ manager }, folder) {
  copyFileSync(join(programs, 'peers.cjs'), join(folder, 'peers.cjs'));
  const yarn = join(work, 'tools/node_modules/@yarnpkg/cli-dist/bin/yarn.js');
  const node = manager === 'yarn-pnp' ? ['node', yarn, 'node'] : ['node'];
  return (await run([...node, 'peers.cjs', String(redisPort)], folder)).trim().replaceAll('\n', '; ');
}

/** @param {string} folder */
async function useNest(folder) {
  copyFileSync(join(root, 'test/runtimes/nest-smoke.cjs'), join(folder, 'smoke.cjs'));
  return `${(await run(['node', 'smoke.cjs', String(redisPort)], folder)).trim()}: gateway, exceptions, health, shutdown`;
}

/**
 * @param {Row} row
 * @param {string} folder
 */
async function compile({ name, resolutions = [] }, folder) {
  const source = readFileSync(join(root, 'test/types/installs.ts'), 'utf8');
  const results = [];
  for (const [resolution, module] of resolutions) {
    const files =
      resolution.startsWith('node1') || resolution === 'nodenext' ? ['index.mts', 'index.cts'] : ['index.ts'];
    for (const file of files) writeFileSync(join(folder, file), source);
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: 'es2022',
      lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'],
      types: ['node'],
      module,
      moduleResolution: resolution,
      // For the other packages, whose types are for newer versions of TypeScript. Those of rollcall are checked as `.ts`.
      skipLibCheck: true,
      ...(name.includes(' 6') && resolution === 'node' ? { ignoreDeprecations: '6.0' } : {}),
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
    await run(['tsc', '--project', 'tsconfig.json'], folder);
    // Again with the declarations of all packages: those of rollcall must have no error.
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { ...compilerOptions, skipLibCheck: false }, files }),
    );
    // The whole output: the end of a long one has only errors of other packages.
    const output = await run(['tsc', '--project', 'tsconfig.json', '--pretty', 'false'], folder).catch(
      (error) => error.output,
    );
    const ours = output
      .split('\n')
      .filter((/** @type {string} */ line) => line.startsWith('node_modules/rollcall/'));
    if (ours.length > 0)
      throw new Error(`${resolution}, skipLibCheck: false\n${ours.slice(0, 5).join('\n')}`);
    results.push(resolution);
    for (const file of files) rmSync(join(folder, file));
  }
  return results.join(', ');
}

const MIME = /** @type {Record<string, string>} */ ({ '.html': 'text/html', '.js': 'text/javascript' });

/**
 * Opens the built page in a browser, and returns what it reports.
 *
 * @param {string} address
 */
async function openPage(address) {
  const page = await browser.newPage();
  /** @type {string[]} */
  const problems = [];
  page.on('pageerror', ({ message }) => problems.push(message));
  try {
    await page.goto(`${address}?server=${encodeURIComponent(server.address)}`);
    await page.waitForFunction(() => /^(ok|failed)/.test(document.title), undefined, { timeout: 30_000 });
    const title = await page.title();
    if (!title.startsWith('ok')) throw new Error(title);
    return title.slice(4);
  } catch (error) {
    throw new Error(`${error}\n${problems.join('\n')}`);
  } finally {
    await page.close();
  }
}

/**
 * @param {Row} row
 * @param {string} folder
 */
async function bundle({ name, commands = [], files = {}, serve = 'out', page = 'page.js' }, folder) {
  copyFileSync(join(programs, page), join(folder, page));
  if (page === 'shared-page.ts')
    copyFileSync(join(programs, 'tabs-worker.ts'), join(folder, 'tabs-worker.ts'));
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(join(folder, file, '..'), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  if (name.startsWith('Metro')) copyFileSync(join(programs, 'metro.cjs'), join(folder, 'metro.cjs'));
  if (serve === 'react-native') await extractUrl(folder);
  for (const command of commands) await run(command, folder);
  if (serve === 'react-native') {
    for (const file of ['react-native-run.cjs']) copyFileSync(join(programs, file), join(folder, file));
    return (await run(['node', 'react-native-run.cjs', 'out/page.js', server.address], folder)).trim();
  }
  if (serve === 'next') return await openNext(folder);
  const out = join(folder, serve);
  if (!existsSync(join(out, 'index.html')))
    writeFileSync(
      join(out, 'index.html'),
      '<!doctype html><title>chat</title><body><script type="module" src="./page.js"></script>',
    );
  pages = out;
  return await openPage(`${server.address}/`);
}

/** @param {string} folder */
async function openNext(folder) {
  const child = spawn(
    join(folder, 'node_modules/.bin/next'),
    ['start', '-H', '127.0.0.1', '-p', String(nextPort)],
    {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' },
    },
  );
  try {
    let output = '';
    for await (const data of child.stdout) {
      output += data;
      if (/ready/i.test(output)) break;
    }
    const route = await (await fetch(`http://127.0.0.1:${nextPort}/online`)).json();
    return `${await openPage(`http://127.0.0.1:${nextPort}/`)}; a route on the server: ${JSON.stringify(route)}`;
  } finally {
    const ended = once(child, 'exit');
    child.kill();
    await ended;
  }
}

/**
 * Takes React Native's URL class from its package, without installing the package and its dependencies.
 *
 * @param {string} folder
 */
async function extractUrl(folder) {
  const version = '0.88.1';
  await run(['npm', 'pack', `react-native@${version}`, '--ignore-scripts', '--silent'], folder);
  const blob = 'package/Libraries/Blob';
  await run(
    ['tar', '-xzf', `react-native-${version}.tgz`, `${blob}/URL.js`, `${blob}/URLSearchParams.js`],
    folder,
  );
  rmSync(join(folder, `react-native-${version}.tgz`));
  cpSync(join(folder, blob), join(folder, 'url'), { recursive: true });
  rmSync(join(folder, 'package'), { recursive: true });
  writeFileSync(join(folder, 'url/NativeBlobModule.js'), 'export default null;\n');
  writeFileSync(
    join(folder, 'set-url.js'),
    "import { URL, URLSearchParams } from './url/URL.js';\nObject.assign(globalThis, { URL, URLSearchParams });\n",
  );
  copyFileSync(join(programs, 'react-native.js'), join(folder, 'page.js'));
}

async function sparePort() {
  const probe = createTcpServer();
  await once(probe.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  probe.close();
  await once(probe, 'close');
  return port;
}

/** The folder with the page that the server serves. */
let pages = work;

/** The server of the pages, on this build: WebSockets on /ws, HTTP alone on /blocked. */
async function startServer() {
  const redis = await createEmbeddedRedis();
  const rollcall = createRollcall({ redis: redis.client, presence: { grace: 0 } });
  let users = 0;
  const options = {
    rooms: rollcall.rooms,
    authenticate: () => ({ userId: `user${++users}` }),
    authorize: () => true,
  };
  const http = createHttpHandler({ ...options, origins: [`http://127.0.0.1:${nextPort}`] });
  const listener = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost');
    if (pathname === '/blocked') return http.handle(request, response);
    const file = join(pages, pathname === '/' ? 'index.html' : pathname);
    if (!existsSync(file)) return void response.writeHead(404).end();
    response
      .setHeader('content-type', MIME[extname(file)] ?? 'application/octet-stream')
      .end(readFileSync(file));
  });
  const sockets = new WebSocketServer({ noServer: true });
  const serving = serveWebSocket(sockets, options);
  listener.on('upgrade', (request, socket, head) => {
    if (request.url?.startsWith('/blocked')) return socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    sockets.handleUpgrade(request, socket, head, (each) => sockets.emit('connection', each, request));
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (listener.address());
  return {
    address: `http://127.0.0.1:${port}`,
    async close() {
      await http.shutdown();
      await serving.close();
      listener.closeAllConnections();
      listener.close();
      await rollcall.close();
      await redis.close();
    },
  };
}

const redisPort = await sparePort();
const nextPort = await sparePort();
const redis = spawn(
  process.env['REDIS_SERVER'] ?? 'redis-server',
  ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '', '--dir', work],
  { stdio: 'ignore' },
);
const server = await startServer();
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
let failed = 0;
try {
  await run(['npm', 'pack', '--ignore-scripts', '--pack-destination', work], root);
  copyFileSync(
    join(work, String(readdirSync(work).find((file) => file.endsWith('.tgz')))),
    join(work, 'rollcall.tgz'),
  );
  mkdirSync(join(work, 'tools'));
  await run(
    ['npm', 'install', '--no-audit', '--no-fund', '--prefix', join(work, 'tools'), ...Object.values(TOOLS)],
    work,
  );
  for (const row of rows) {
    if (wanted.length > 0 && !wanted.some((part) => `${row.group} ${row.name} ${row.manager}`.includes(part)))
      continue;
    const folder = join(work, 'project');
    mkdirSync(folder);
    let result;
    try {
      const warnings = await install(row, folder);
      const use = { peers: usePeers, nest: (_, at) => useNest(at), types: compile, bundle }[row.kind];
      result = `ok: ${await use(row, folder)}`;
      if (warnings.length > 0) result += `; warnings: ${warnings.join(' ')}`;
    } catch (error) {
      failed++;
      result = `FAILED: ${error instanceof Error ? error.message : error}`;
    }
    console.log(`| ${row.group} | ${row.name} | ${row.manager} | ${result} |`);
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
} finally {
  await browser.close();
  await server.close();
  redis.kill();
  await once(redis, 'exit');
  rmSync(work, { recursive: true, force: true, maxRetries: 3 });
}
process.exitCode = failed > 0 ? 1 : 0;
