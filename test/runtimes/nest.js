// @ts-check
// Runs nest-smoke.cjs and the same as an ES module on the packed package, with each major version of Nest. Not a part of the
// test projects: npm installs one major version of Nest in a project. Needs `npm run build` and redis-server:
//   node test/runtimes/nest.js [major…]
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const MAJORS = ['11', '12'];
const asked = process.argv.slice(2);
const unknown = asked.filter((major) => !MAJORS.includes(major));
if (unknown.length > 0) throw new Error(`not tested: Nest ${unknown}; there are ${MAJORS.join(', ')}`);

const probe = createServer();
await once(probe.listen(0, '127.0.0.1'), 'listening');
const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
probe.close();
await once(probe, 'close');

const work = mkdtempSync(join(tmpdir(), 'rollcall-nest-'));
const program = process.env['REDIS_SERVER'] ?? 'redis-server';
const server = spawn(program, ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', work], {
  stdio: 'ignore',
});
let failed = false;
try {
  const pack = ['pack', '--ignore-scripts', '--pack-destination', work];
  execFileSync('npm', pack, { cwd: root, stdio: 'ignore' });
  const tarball = String(readdirSync(work).find((file) => file.endsWith('.tgz')));
  const smoke = readFileSync(join(root, 'test/runtimes/nest-smoke.cjs'), 'utf8');
  // The same code as an ES module.
  const esm = smoke.replace(/const (\{[^}]*\}|\w+) = require\('([^']+)'\);/g, (_, names, from) =>
    names.startsWith('{')
      ? `import ${names.replaceAll(':', ' as')} from '${from}';`
      : `import * as ${names} from '${from}';`,
  );
  for (const major of asked.length > 0 ? asked : MAJORS) {
    const folder = join(work, `nest-${major}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true }));
    const nest = ['common', 'core', 'platform-express', 'websockets'].map(
      (name) => `@nestjs/${name}@${major}`,
    );
    const others = ['reflect-metadata@0.2', 'rxjs@7', 'redis', 'ws'];
    const options = ['--no-audit', '--no-fund', '--silent', '--ignore-scripts'];
    execFileSync('npm', ['install', ...options, join(work, tarball), ...nest, ...others], {
      cwd: folder,
      stdio: 'inherit',
    });
    writeFileSync(join(folder, 'smoke.cjs'), smoke);
    writeFileSync(join(folder, 'smoke.mjs'), esm);
    const core = JSON.parse(readFileSync(join(folder, 'node_modules/@nestjs/core/package.json'), 'utf8'));
    for (const file of ['smoke.cjs', 'smoke.mjs']) {
      const run = spawnSync(process.execPath, [file, String(port)], {
        cwd: folder,
        encoding: 'utf8',
        timeout: 60_000,
      });
      if (run.status !== 0) failed = true;
      const result = run.status === 0 ? run.stdout.trim() : `FAILED\n${run.stdout}${run.stderr}`;
      console.log(`Nest ${core.version}  ${file}  ${result}`);
    }
  }
} finally {
  server.kill();
  await once(server, 'exit');
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
