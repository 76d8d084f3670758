import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { defineConfig, type Plugin, type TestProjectInlineConfiguration } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { CountReporter } from './test/support/reporter.js';
import { programOf, serverNames } from './test/support/servers/catalog.js';
import { findChromium, findRedisServer } from './test/support/tools.js';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const ci = process.env['CI'] === 'true';
const leftOut: string[] = [];

/** Lua scripts are imported as text, as in the build. */
const luaAsText: Plugin = {
  name: 'lua-as-text',
  transform(code: string, id: string) {
    return /\.lua(\?|$)/.test(id)
      ? { code: `export default ${JSON.stringify(code)};`, map: null }
      : undefined;
  },
};

/** The decorators of Nest need options of TypeScript that vitest's own compiler does not have. */
const nestDecorators: Plugin = {
  name: 'nest-decorators',
  enforce: 'pre',
  transform(code: string, id: string) {
    if (!/examples\/nestjs\/.*\.ts$/.test(id)) return undefined;
    const { outputText } = ts.transpileModule(code, {
      compilerOptions: {
        target: ts.ScriptTarget.ES2022,
        module: ts.ModuleKind.ESNext,
        experimentalDecorators: true,
        emitDecoratorMetadata: true,
      },
    });
    return { code: outputText, map: null };
  },
};

/** For tests that mostly compute, a worker a processor. */
const processors = Math.max(2, availableParallelism());
/** For tests that mostly wait for real servers, leases and pages. */
const waiting = 3 * processors;

/** Run these files only on the servers that SERVERS names: the conformance suite, the wire, scripts, one fault of each kind. */
const BOUNDED_PART = [
  'acl.test.ts',
  'cli-doctor.test.ts',
  'cluster-drivers.test.ts',
  'drivers.test.ts',
  'glide.test.ts',
  'history-scripts.test.ts',
  'presence-storage.test.ts',
  'ws.test.ts',
  'client-faults.test.ts',
  'presence-crash-faults.test.ts',
];
const bounded = process.env['SERVERS_PART'] === 'true';

/** Files that take longer than their size suggests start first, also where no durations of an earlier run are known. */
const LONG = [
  'browser/demo.test.ts',
  'mock/docs-code.test.ts',
  'redis/cluster-faults.test.ts',
  'redis/presence-owners.test.ts',
  'redis/rooms-faults.test.ts',
];

/**
 * Orders the files of a group, from which each worker takes the next one. Pages compute and fault tests wait, so that
 * they share the processors best side by side. Projects with short files come last, so that all workers end together.
 * Otherwise a project's files stay in a row, because a worker that changes the project starts anew.
 */
class InterleavedSequencer extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // By project; within a project failed files first, then by duration in the last run, or by size.
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification) => LONG.some((name) => moduleId.endsWith(name));
    const of = (name: string) => {
      const files = sorted.filter(({ project }) => project.name === name);
      return [...files.filter(isLong), ...files.filter((each) => !isLong(each))];
    };
    const [browser, faults] = [of('browser'), of('faults')];
    const alternating = faults.flatMap((each, at) => [...browser.slice(at, at + 1), each]);
    const first = [...alternating, ...browser.slice(faults.length), ...of('redis'), ...of('mock')];
    return [...first, ...sorted.filter((each) => !first.includes(each))];
  }
}

/** Projects of one group run at the same time, one group after another. */
function project(
  name: string,
  group: number,
  maxWorkers: number,
  testTimeout: number,
  server?: string,
): TestProjectInlineConfiguration {
  const folder = `test/${name}`;
  return {
    extends: true,
    test: {
      name: server === undefined ? name : `${name}@${server}`,
      include:
        server === undefined || !bounded
          ? [`${folder}/**/*.test.ts`]
          : BOUNDED_PART.map((file) => `${folder}/${file}`),
      ...(server === undefined ? {} : { env: { REDIS_SERVER: programOf(server) } }),
      // The time limit of a test is scaled to the machine, for each file, in setup.ts.
      setupFiles: [here('test/support/setup.ts')],
      provide: { testTimeout },
      maxWorkers,
      // A file does not load all modules again: it takes longer to load them than to run most files.
      isolate: false,
      sequence: { groupOrder: group },
    },
  };
}

/** Programs that a project needs, by the name of the project, where they are missing. */
const missing = new Map<string, string>();

/**
 * Projects that need a program that may not be installed. Without it they are left out, which the
 * reporter says, except in CI: there they stay in, and `requirePrograms` ends the run.
 */
function needing(program: string | undefined, what: string, projects: TestProjectInlineConfiguration[]) {
  if (program !== undefined) return projects;
  const names = projects.map((each) => String(each.test?.name));
  for (const name of names) missing.set(name, what);
  if (ci) return projects;
  leftOut.push(`${names.join(', ')} (${what})`);
  return [];
}

/** The projects that run on other servers too, named as in `redis@valkey-9.1`. SERVERS names the servers. */
function onServers(): TestProjectInlineConfiguration[] {
  const names = serverNames(process.env['SERVERS']);
  for (const name of names.filter((each) => !existsSync(programOf(each)))) {
    spawnSync(process.execPath, [here('test/support/servers/fetch.js'), name], { stdio: 'inherit' });
  }
  return names.flatMap((name, at) =>
    needing(
      existsSync(programOf(name)) ? name : undefined,
      `${name} could not be fetched: see test/support/servers/fetch.js`,
      // One server after another.
      [project('redis', 2 + at, waiting, 60_000, name), project('faults', 2 + at, waiting, 180_000, name)],
    ),
  );
}

/** Projects with tests that start processes, pages or packages from dist/. */
const needBuild = new Set(['package', 'redis', 'faults', 'browser']);

/** Runs only for the projects asked for, so that `--project unit` needs no server or build even in CI. */
const requirePrograms: Plugin = {
  name: 'require-programs',
  configureVitest({ project: { name } }) {
    const what =
      missing.get(name) ??
      (needBuild.has(name.split('@')[0] as string) && !existsSync(here('dist/index.js'))
        ? 'run npm run build'
        : undefined);
    if (what) throw new Error(`can't run the ${name} tests: ${what}`);
  },
};

const projects = [
  project('unit', 0, processors, 20_000),
  project('mock', 1, waiting, 30_000),
  project('package', 1, waiting, 60_000),
  ...needing(findRedisServer(), 'redis-server not found: install it, or set REDIS_SERVER to its path', [
    project('redis', 1, waiting, 60_000),
    project('faults', 1, waiting, 180_000),
  ]),
  ...needing(findChromium(), 'chromium not found: install it, or set CHROMIUM to its path', [
    project('browser', 1, waiting, 120_000),
  ]),
  ...onServers(),
];

export default defineConfig({
  plugins: [luaAsText, nestDecorators, requirePrograms],
  resolve: {
    // Exact names only: `rollcall/testing` must not become `src/index.ts/testing`.
    alias: [
      { find: /^rollcall$/, replacement: here('src/index.ts') },
      {
        find: /^rollcall\/([a-z.-]+)$/,
        replacement: here('src/$1/index.ts'),
      },
    ],
  },
  test: {
    projects,
    sequence: { sequencer: InterleavedSequencer },
    // A project may have no tests yet.
    passWithNoTests: true,
    // The counts come last, so that the last line of a run says how it went.
    reporters: ['default', new CountReporter(leftOut)],
  },
});
