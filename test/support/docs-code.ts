import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Declares imports of Lua files. */
const LUA = join(root, 'src/lua.d.ts');
const PLACEHOLDERS = join(root, 'test/support/docs-placeholders.d.ts');

/** README and every guide, by path. */
export const pages: ReadonlyMap<string, string> = new Map(
  [
    'README.md',
    'CONTRIBUTING.md',
    ...['docs', 'docs/decisions'].flatMap((folder) =>
      readdirSync(join(root, folder))
        .filter((name) => name.endsWith('.md'))
        .map((name) => `${folder}/${name}`),
    ),
  ].map((page) => [page, readFileSync(join(root, page), 'utf8')]),
);

export interface CodeBlock {
  readonly page: string;
  /** Line of its first code line in the page, from 1. */
  readonly line: number;
  readonly language: string;
  readonly code: string;
  /** The file that the page claims to show. */
  readonly source: string | undefined;
}

/** The fenced code blocks of a page that have a language. */
export function blocksOf(page: string, text: string): CodeBlock[] {
  const found = text.matchAll(/(?:<!-- source: (\S+) -->\n)?```(\w+)\n([\s\S]*?)\n```/g);
  return [...found].map((match) => {
    const [whole, source, language = '', code = ''] = match;
    const start = match.index + whole.indexOf('```');
    return { page, line: text.slice(0, start).split('\n').length + 1, language, code, source };
  });
}

/** Errors of code that only ES modules allow: top-level `await`, `for await`, `await using` and `import.meta`. */
const ESM_ONLY: ReadonlySet<number> = new Set([1343, 1378, 1432, 2854]);

export interface DocsProblem {
  readonly page: string;
  readonly line: number;
  readonly message: string;
}

/** A block as a TypeScript module: alone, or after the first block of its page. */
interface BlockModule {
  readonly file: string;
  readonly text: string;
  /** For each line of `text`, its line in the page; undefined for lines added here. */
  readonly lines: readonly (number | undefined)[];
}

/** Whether blocks are ES modules, or modules that TypeScript compiles to CommonJS. */
export type ModuleFormat = 'esm' | 'commonjs';

/**
 * Type-checks the code of pages with the options of tsconfig.json, in one program. `js` blocks are checked as
 * TypeScript. A block must compile alone or after the first block of its page, whose names it may use. Names that a
 * guide leaves to the reader are declared in docs-placeholders.d.ts. Blocks that show a file are left out, because
 * the file is checked itself.
 */
export function checkDocs(texts: ReadonlyMap<string, string>, format: ModuleFormat = 'esm'): DocsProblem[] {
  const placeholders = readPlaceholders();
  const modules = new Map<CodeBlock, BlockModule[]>();
  for (const [page, text] of texts) {
    const blocks = blocksOf(page, text).filter(
      ({ language, source }) => ['js', 'ts', 'tsx'].includes(language) && source === undefined,
    );
    const [first] = blocks;
    const names = placeholders.get(page) ?? [];
    for (const block of blocks) {
      const alone = toModule([block], names);
      const after = first === undefined || first === block ? [] : [toModule([first, block], names)];
      modules.set(block, [alone, ...after]);
    }
  }

  const all = [...modules.values()].flat();
  const program = createProgram(new Map(all.map(({ file, text }) => [file, text])), format);
  const problems: DocsProblem[] = [];
  for (const [block, variants] of modules) {
    const found = variants.map((variant) => problemsOf(program, variant, block));
    if (found.some((each) => each.length === 0)) continue;
    // The variant with fewer problems is the one that was meant.
    problems.push(...(found.sort((a, b) => a.length - b.length)[0] ?? []));
  }
  return problems;
}

function toModule(blocks: readonly CodeBlock[], placeholders: readonly string[]): BlockModule {
  const [first] = blocks;
  const last = blocks.at(-1);
  if (first === undefined || last === undefined) throw new Error('a module needs a block');
  const code = blocks.map((block) => block.code).join('\n');
  const declared = declaredNames(code);
  const missing = placeholders.filter((name) => !declared.has(name));
  const header = missing.length > 0 ? `import { ${missing.join(', ')} } from '${last.page}';` : 'export {};';
  const lines = blocks.flatMap((block) => block.code.split('\n').map((_, at) => block.line + at));
  const variant = blocks.length > 1 ? 'after-first' : 'alone';
  const extension = blocks.some(({ language }) => language === 'tsx') ? 'tsx' : 'ts';
  return {
    file: join(root, `${last.page}.${last.line}.${variant}.${extension}`),
    text: `${header}\n${code}\n`,
    lines: [undefined, ...lines],
  };
}

/** The names that a block imports or declares at the top level. */
function declaredNames(code: string): Set<string> {
  const names = new Set<string>();
  const addBinding = (name: ts.BindingName): void => {
    if (ts.isIdentifier(name)) names.add(name.text);
    else for (const each of name.elements) if (ts.isBindingElement(each)) addBinding(each.name);
  };
  for (const statement of ts.createSourceFile('block.tsx', code, ts.ScriptTarget.Latest).statements) {
    if (ts.isVariableStatement(statement)) {
      for (const { name } of statement.declarationList.declarations) addBinding(name);
    } else if (ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)) {
      if (statement.name !== undefined) names.add(statement.name.text);
    } else if (ts.isImportDeclaration(statement)) {
      const { name, namedBindings } = statement.importClause ?? {};
      if (name !== undefined) names.add(name.text);
      if (namedBindings === undefined) continue;
      if (ts.isNamespaceImport(namedBindings)) names.add(namedBindings.name.text);
      else for (const each of namedBindings.elements) names.add(each.name.text);
    }
  }
  return names;
}

/** The names of each `declare module '<page>'` of docs-placeholders.d.ts. */
function readPlaceholders(): Map<string, string[]> {
  const source = ts.createSourceFile(
    PLACEHOLDERS,
    readFileSync(PLACEHOLDERS, 'utf8'),
    ts.ScriptTarget.Latest,
  );
  const found = new Map<string, string[]>();
  for (const statement of source.statements) {
    if (!ts.isModuleDeclaration(statement) || statement.body === undefined) continue;
    if (!ts.isModuleBlock(statement.body)) continue;
    const exported = statement.body.statements.filter((each) => !ts.isImportDeclaration(each));
    const names = exported.flatMap((each) => [...declaredNames(each.getText(source))]);
    found.set(statement.name.text, names);
  }
  return found;
}

/**
 * Type-checks the files that pages show and the other examples. A file is checked if it begins with `// @ts-check`, or is TypeScript.
 */
export function checkExamples(): string[] {
  const folder = join(root, 'examples');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.js'))
    .map((name) => join(folder, name));
  // The decorators of Nest.
  const decorated = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.ts$/.test(name))
    .map((name) => join(folder, name));
  return [
    ...diagnose(files, {}),
    ...diagnose(decorated, { experimentalDecorators: true, emitDecoratorMetadata: true }),
  ];
}

function diagnose(files: readonly string[], extra: ts.CompilerOptions): string[] {
  const program = createProgram(new Map(), 'esm', files, extra);
  return files.flatMap((file) => {
    const source = program.getSourceFile(file);
    return program.getSemanticDiagnostics(source).map(({ start = 0, messageText }) => {
      const line = (source?.getLineAndCharacterOfPosition(start).line ?? 0) + 1;
      return `${relative(root, file)}:${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    });
  });
}

function createProgram(
  virtual: ReadonlyMap<string, string>,
  format: ModuleFormat,
  files: readonly string[] = [],
  extra: ts.CompilerOptions = {},
): ts.Program {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent({ ...config.config, include: [] }, ts.sys, root);
  options.lib = [...(options.lib ?? []), 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'];
  options.jsx = ts.JsxEmit.ReactJSX;
  options.allowJs = files.length > 0;
  Object.assign(options, extra);
  if (format === 'commonjs') {
    options.module = ts.ModuleKind.CommonJS;
    options.moduleResolution = ts.ModuleResolutionKind.Bundler;
    // CommonJS has no import statements to keep.
    options.verbatimModuleSyntax = false;
    options.esModuleInterop = true;
  }
  const host = ts.createCompilerHost(options);
  const { readFile, fileExists } = host;
  host.readFile = (file) => virtual.get(file) ?? readFile(file);
  host.fileExists = (file) => virtual.has(file) || fileExists(file);
  const getSourceFile = host.getSourceFile;
  host.getSourceFile = (file, languageVersion, ...rest) => {
    const text = virtual.get(file);
    if (text === undefined) return getSourceFile(file, languageVersion, ...rest);
    return ts.createSourceFile(file, text, languageVersion);
  };
  const rootNames = [PLACEHOLDERS, LUA, ...files, ...virtual.keys()];
  return ts.createProgram({ rootNames, options, host });
}

function problemsOf(program: ts.Program, { file, lines }: BlockModule, block: CodeBlock): DocsProblem[] {
  const source = program.getSourceFile(file);
  if (source === undefined) throw new Error(`${file} is not part of the program`);
  const all = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
  const found =
    program.getCompilerOptions().module === ts.ModuleKind.CommonJS
      ? all.filter(({ code }) => !ESM_ONLY.has(code))
      : all;
  return found.map(({ start = 0, messageText }) => ({
    page: block.page,
    line: lines[source.getLineAndCharacterOfPosition(start).line] ?? block.line,
    message: ts.flattenDiagnosticMessageText(messageText, '\n'),
  }));
}
