// @ts-check
// Runs smoke.js, with both client libraries, and servers.js on the packed package under Node 20 to 26, Bun and Deno, and prints a table. Not a part of
// the test projects: it downloads the runtimes from npm. Needs `npm run build` and redis-server:
//   node test/runtimes/run.js [name…]
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const manifest = (await import('../../package.json', { with: { type: 'json' } })).default;

/** @type {Record<string, { packages: string[], command: string[] }>} */
const RUNTIMES = {
  'node 20': { packages: ['node@20'], command: ['node'] },
  'node 22': { packages: ['node@22'], command: ['node'] },
  'node 24': { packages: ['node@24'], command: ['node'] },
  'node 26': { packages: ['node@26'], command: ['node'] },
  bun: { packages: ['bun@1'], command: ['bun', 'run'] },
  deno: { packages: ['deno@2'], command: ['deno', 'run', '--allow-all', '--node-modules-dir=manual'] },
};

async function sparePort() {
  const probe = createServer();
  await once(probe.listen(0, '127.0.0.1'), 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  probe.close();
  return port;
}

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in RUNTIMES));
if (unknown.length > 0)
  throw new Error(`no runtime is called ${unknown}; there are ${Object.keys(RUNTIMES).join(', ')}`);

const work = mkdtempSync(join(tmpdir(), 'rollcall-runtimes-'));
const port = await sparePort();
const program = process.env['REDIS_SERVER'] ?? 'redis-server';
const server = spawn(program, ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', work], {
  stdio: 'ignore',
});
let failed = false;
try {
  execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', work], {
    cwd: root,
    stdio: 'ignore',
  });
  const tarball = readdirSync(work).find((file) => file.endsWith('.tgz'));
  const peers = ['redis', 'ioredis', 'ws', 'crossws'].map(
    (name) => `${name}@${manifest.devDependencies[/** @type {'ws'} */ (name)]}`,
  );
  for (const [name, { packages, command }] of Object.entries(RUNTIMES)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const folder = join(work, name.replace(' ', '-'));
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
    const options = ['--no-audit', '--no-fund', '--silent'];
    execFileSync('npm', ['install', ...options, join(work, String(tarball)), ...peers, ...packages], {
      cwd: folder,
      stdio: 'ignore',
    });
    const scripts = ['smoke.js', 'servers.js', 'support.js'].map((name) => `test/runtimes/${name}`);
    const examples = ['bun.js', 'deno.js', 'crossws.js'].map((name) => `examples/servers/${name}`);
    for (const file of [...scripts, ...examples])
      copyFileSync(join(root, file), join(folder, basename(file)));
    const [binary, ...args] = /** @type {[string, ...string[]]} */ (command);
    const path = join(folder, 'node_modules/.bin', binary);
    const version = execFileSync(path, ['--version'], { encoding: 'utf8' }).split('\n')[0];
    for (const [script, library] of /** @type {const} */ ([
      ['smoke.js', 'redis'],
      ['smoke.js', 'ioredis'],
      ['servers.js', 'redis'],
    ])) {
      const { status, stdout, stderr } = spawnSync(path, [...args, script, String(port), library], {
        cwd: folder,
        encoding: 'utf8',
        timeout: 120_000,
      });
      if (status !== 0) failed = true;
      console.log(
        `${name} (${version}), ${script} with ${library}: ${status === 0 ? 'passed' : `FAILED\n${stderr}`}`,
      );
      console.log(stdout.replaceAll(/^/gm, '  ').trimEnd());
    }
  }
} finally {
  server.kill();
  rmSync(work, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
