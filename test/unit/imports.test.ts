import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';

// Every folder of src names the folders that it may import from; a folder may always import from itself.

const src = fileURLToPath(new URL('../../src', import.meta.url));

const allowed: Readonly<Record<string, readonly string[]>> = {
  internal: [],
  http: ['internal'],
  protocol: [],
  client: ['protocol'],
  'event-stream': ['client', 'protocol'],
  react: ['client', 'event-stream'],
  'shared-worker': ['client', 'protocol'],
  redis: ['internal'],
  history: ['internal', 'redis'],
  pubsub: ['history', 'internal', 'redis'],
  presence: ['internal', 'pubsub', 'redis'],
  rooms: ['history', 'internal', 'presence', 'protocol', 'pubsub', 'redis'],
  typing: ['internal', 'presence', 'protocol', 'pubsub', 'redis', 'rooms'],
  notifications: ['history', 'internal', 'pubsub', 'redis', 'rooms'],
  crossws: ['server'],
  server: ['history', 'http', 'internal', 'presence', 'protocol', 'pubsub', 'rooms', 'typing'],
  ws: ['internal', 'protocol', 'rooms', 'server'],
  sse: ['history', 'http', 'internal', 'presence', 'protocol', 'pubsub', 'redis', 'rooms'],
  'socket.io': ['history', 'internal', 'presence', 'protocol', 'pubsub', 'redis'],
  graphql: ['history', 'internal', 'pubsub'],
  nestjs: ['internal', 'presence', 'protocol', 'pubsub', 'redis', 'rollcall.ts', 'rooms', 'server', 'ws'],
  driver: ['redis'],
  glide: ['internal', 'redis'],
  msgpack: ['internal'],
  testing: ['internal', 'redis'],
  cli: ['history', 'internal', 'presence', 'protocol', 'pubsub', 'redis', 'rollcall.ts', 'rooms'],
  'rollcall.ts': ['internal', 'notifications', 'presence', 'pubsub', 'redis', 'rooms'],
  'index.ts': [
    'history',
    'internal',
    'notifications',
    'presence',
    'protocol',
    'pubsub',
    'redis',
    'rollcall.ts',
    'rooms',
    'typing',
  ],
};

/** The folder of a file; a file directly in src counts as a folder of its own. */
function folderOf(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : file;
}

interface Source {
  file: string;
  text: string;
  /** Every module named in the file: import, export from, import() and require, types too. */
  names: string[];
  /** Those of them that are files in src, as paths within src. */
  files: string[];
}

const sources: Source[] = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  .sort()
  .map((file) => {
    const text = readFileSync(join(src, file), 'utf8');
    const names = ts.preProcessFile(text, true, true).importedFiles.map((each) => each.fileName);
    const files = names
      .filter((name) => name.startsWith('.'))
      .map((name) => posix.join(dirname(file), name).replace(/\.js$/, '.ts'));
    return { file, text, names, files: [...new Set(files)] };
  });

/** The code of a file without its comments: prose may name any client it likes. */
function codeOf(text: string): string {
  const comments: [number, number][] = [];
  const collect = (node: ts.Node): void => {
    for (const range of ts.getLeadingCommentRanges(text, node.getFullStart()) ?? []) {
      comments.push([range.pos, range.end]);
    }
    for (const range of ts.getTrailingCommentRanges(text, node.getEnd()) ?? []) {
      comments.push([range.pos, range.end]);
    }
    for (const child of node.getChildren(file)) collect(child);
  };
  const file = ts.createSourceFile('x.ts', text, ts.ScriptTarget.Latest, true);
  collect(file);
  const chars = [...text.split('')];
  for (const [from, to] of comments) chars.fill(' ', from, to);
  return chars.join('');
}

const named = (name: string, pkg: string): boolean => name === pkg || name.startsWith(`${pkg}/`);

test('src contains files to check', () => {
  expect(sources.length).toBeGreaterThan(0);
});

test('every folder of src has an allow-list', () => {
  const folders = [...new Set(sources.map(({ file }) => folderOf(file)))].sort();
  expect(folders).toEqual(Object.keys(allowed).sort());
});

test('imports name files that exist, by their .js names', () => {
  const wrong = sources.flatMap(({ file, files }) =>
    files
      .filter((target) => !/\.(ts|lua)$/.test(target) || !existsSync(join(src, target)))
      .map((target) => `${file} -> ${target}`),
  );
  expect(wrong).toEqual([]);
});

test('a file imports from the folders on its allow-list only', () => {
  const forbidden = sources.flatMap(({ file, files }) =>
    files
      .filter((target) => folderOf(target) !== folderOf(file))
      .filter((target) => !allowed[folderOf(file)]?.includes(folderOf(target)))
      .map((target) => `${file} -> ${target}`),
  );
  expect(forbidden).toEqual([]);
});

test('an allow-list names no folder that is not imported', () => {
  const used = new Set(
    sources.flatMap(({ file, files }) => files.map((target) => `${folderOf(file)} -> ${folderOf(target)}`)),
  );
  const unused = Object.entries(allowed).flatMap(([folder, targets]) =>
    targets.map((target) => `${folder} -> ${target}`).filter((arrow) => !used.has(arrow)),
  );
  expect(unused).toEqual([]);
});

test('an exported type name has one definition', () => {
  const definitions = new Map<string, string[]>();
  for (const { file, text } of sources) {
    for (const [, name = ''] of text.matchAll(
      /^export (?:declare )?(?:abstract )?(?:class|interface|type|enum) (\w+)/gm,
    )) {
      definitions.set(name, [...(definitions.get(name) ?? []), file]);
    }
  }
  const twice = [...definitions].filter(([, files]) => files.length > 1);
  expect(twice).toEqual([]);
});

test('there are no import cycles', () => {
  const graph = new Map(sources.map(({ file, files }) => [file, files]));
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]): void => {
    const start = path.indexOf(file);
    if (start !== -1) cycles.push([...path.slice(start), file].join(' -> '));
    if (start !== -1 || done.has(file)) return;
    for (const target of graph.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const { file } of sources) visit(file, []);
  expect(cycles).toEqual([]);
});

test('only src/redis mentions Redis clients', () => {
  const outside = sources.filter(({ file }) => folderOf(file) !== 'redis');
  const importing = outside.flatMap(({ file, names }) =>
    names
      .filter((name) => named(name, 'redis') || named(name, 'ioredis') || name.startsWith('@redis/'))
      .map((name) => `${file} -> ${name}`),
  );
  expect(importing).toEqual([]);
  // The word "redis" is the name of the server too; "ioredis" and "node-redis" are only clients.
  // `index` names the adapters' files, `testing` is built on one of the clients, and `cli` creates clients by URL.
  const mayMention = ['index.ts', 'testing', 'cli'];
  const elsewhere = outside.filter(({ file }) => !mayMention.includes(folderOf(file)));
  const mentioning = elsewhere.filter(({ text }) => /\b(ioredis(?!-mock)|node-redis)\b/i.test(codeOf(text)));
  expect(mentioning.map(({ file }) => file)).toEqual([]);
});

test('browser files import only files that run in a browser', () => {
  const within = ['protocol', 'client', 'event-stream', 'react', 'shared-worker'];
  const outward = sources
    .filter(({ file }) => within.includes(folderOf(file)))
    .flatMap(({ file, names, files }) => [
      ...files.filter((target) => !within.includes(folderOf(target))).map((target) => `${file} -> ${target}`),
      ...names
        .filter((name) => !name.startsWith('.') && !(named(name, 'react') && folderOf(file) === 'react'))
        .map((name) => `${file} -> ${name}`),
    ]);
  expect(outward).toEqual([]);
});

test('the library imports nothing of the command line program', () => {
  const importing = sources.filter(
    ({ file, files }) => folderOf(file) !== 'cli' && files.some((target) => folderOf(target) === 'cli'),
  );
  expect(importing.map(({ file }) => file)).toEqual([]);
});

test('only src/msgpack imports msgpackr', () => {
  const importing = sources.filter(
    ({ file, names }) => folderOf(file) !== 'msgpack' && names.some((name) => named(name, 'msgpackr')),
  );
  expect(importing.map(({ file }) => file)).toEqual([]);
});

test('only src/glide imports GLIDE', () => {
  const importing = sources.filter(
    ({ file, names }) =>
      folderOf(file) !== 'glide' && names.some((name) => named(name, '@valkey/valkey-glide')),
  );
  expect(importing.map(({ file }) => file)).toEqual([]);
});

test('only src/testing imports ioredis-mock', () => {
  const importing = sources.filter(
    ({ file, names }) => folderOf(file) !== 'testing' && names.some((name) => named(name, 'ioredis-mock')),
  );
  expect(importing.map(({ file }) => file)).toEqual([]);
});
