// @ts-check
// Fetches servers for the tests from Debian, each with the C library it was built for, into a folder of this project. Nothing is
// installed. Needs apt-get and dpkg, the network, and Linux on x86-64 or arm64:
//   node test/support/servers/fetch.js all
//   node test/support/servers/fetch.js valkey-9.1 redis-8.0
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { programOf, SERVERS, serverNames } from './catalog.js';

const SOURCES = '/etc/apt/sources.list.d/debian.sources';

/** The mirror that this machine uses. */
function mirror() {
  const [, uri] = existsSync(SOURCES) ? (/^URIs:\s*(\S+)/m.exec(readFileSync(SOURCES, 'utf8')) ?? []) : [];
  if (uri === undefined) throw new Error(`${SOURCES} names no mirror: servers can be fetched on Debian only`);
  return uri;
}

/**
 * apt with an empty system: it then resolves every dependency, down to the C library.
 *
 * @param {string} folder
 * @param {readonly string[]} suites
 */
function apt(folder, suites) {
  for (const each of ['lists/partial', 'cache/archives/partial'])
    mkdirSync(join(folder, each), { recursive: true });
  const uri = mirror();
  writeFileSync(join(folder, 'sources.list'), suites.map((suite) => `deb ${uri} ${suite} main\n`).join(''));
  writeFileSync(join(folder, 'status'), '');
  const options = {
    'Dir::Etc::SourceList': join(folder, 'sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::State::Lists': join(folder, 'lists'),
    'Dir::State::status': join(folder, 'status'),
    'Dir::Cache': join(folder, 'cache'),
    'APT::Sandbox::User': '',
    'Debug::NoLocking': '1',
  };
  const given = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  return (/** @type {string[]} */ ...args) =>
    execFileSync('apt-get', [...given, '-qq', ...args], {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
}

/** @param {string} folder */
function filesIn(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** @param {string} name */
function fetchServer(name) {
  const source = SERVERS[name];
  if (source === undefined) throw new Error(`no server is called ${name}`);
  const { suites, tools, server } = source;
  const target = dirname(programOf(name));
  const work = `${target}.part`;
  rmSync(work, { recursive: true, force: true });
  rmSync(target, { recursive: true, force: true });
  const download = join(work, 'apt');
  const run = apt(download, suites);
  run('update');
  const release = suites.length > 1 ? ['-t', /** @type {string} */ (suites.at(-1))] : [];
  // "Inst libc6 (2.41-12 Debian:13/stable [amd64])"
  const wanted = run('-s', ...release, '--no-install-recommends', 'install', tools)
    .split('\n')
    .flatMap((line) => {
      const [, each, version] = /^Inst (\S+) \((\S+)/.exec(line) ?? [];
      return each !== undefined && (each === tools || each.startsWith('lib') || each.startsWith('zlib'))
        ? [`${each}=${version}`]
        : [];
    });
  run('download', ...wanted);
  const root = join(work, 'root');
  mkdirSync(root);
  for (const file of readdirSync(download).filter((each) => each.endsWith('.deb'))) {
    execFileSync('dpkg', ['-x', join(download, file), root]);
  }
  rmSync(download, { recursive: true });

  const files = filesIn(root);
  const loader = files.find((file) => /\/ld-linux-[\w-]+\.so\.\d$/.test(file));
  // One program is the server, the sentinel and the checker of dumps, by the name it is called by.
  const program = files.find((file) => file.endsWith(`/bin/${server.replace('-server', '-check-rdb')}`));
  if (loader === undefined || program === undefined)
    throw new Error(`${tools} has changed: it has no ${server}`);
  const libraries = [...new Set(files.filter((file) => file.includes('.so')).map(dirname))];
  const moved = (/** @type {string} */ path) => path.replace(work, target);
  const start = [
    moved(loader),
    '--library-path',
    libraries.map(moved).join(':'),
    '--argv0',
    server,
    moved(program),
  ];
  writeFileSync(join(work, 'server'), `#!/bin/sh\nexec ${start.map((each) => `'${each}'`).join(' ')} "$@"\n`);
  chmodSync(join(work, 'server'), 0o755);
  renameSync(work, target);
}

const names = process.argv.slice(2);
if (names.length === 0) throw new Error(`name a server: all, ${Object.keys(SERVERS).join(', ')}`);
for (const name of serverNames(names.join(','))) {
  if (!existsSync(programOf(name))) fetchServer(name);
  console.log(`${name}: ${execFileSync(programOf(name), ['--version'], { encoding: 'utf8' }).trim()}`);
}
