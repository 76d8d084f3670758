import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

export interface OutputOptions {
  readonly json: boolean;
  readonly color: boolean;
  /** The output goes to a terminal, which can be cleared. */
  readonly terminal: boolean;
}

/** Prints results: JSON for programs, or text. */
export class Output {
  readonly json: boolean;
  readonly terminal: boolean;
  readonly #color: boolean;

  constructor({ json, color, terminal }: OutputOptions) {
    this.json = json;
    this.terminal = terminal;
    this.#color = color && !json;
  }

  /** Colours only on a terminal; https://no-color.org. */
  static of(json: boolean): Output {
    const terminal = process.stdout.isTTY === true;
    const { NO_COLOR = '', TERM } = process.env;
    return new Output({ json, terminal, color: terminal && NO_COLOR === '' && TERM !== 'dumb' });
  }

  /** One JSON document with --json, otherwise the lines. */
  print(value: unknown, lines: () => readonly string[]): void {
    if (this.json) this.line(JSON.stringify(value, null, 2));
    else for (const line of lines()) this.line(line);
  }

  /** One JSON document per line with --json, otherwise the line. */
  event(value: unknown, line: () => string): void {
    this.line(this.json ? JSON.stringify(value) : line());
  }

  line(text: string): void {
    process.stdout.write(`${text}\n`);
  }

  clear(): void {
    process.stdout.write('\x1b[2J\x1b[H');
  }

  paint(style: Style, text: string): string {
    return this.#color ? styleText(style, text) : text;
  }
}

/** Columns by their widest cell; the last one is not padded. Cells must not contain colours. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all.map((row) =>
    row
      .map((cell, column) => (column === row.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}

/** `1.2 MB`, of 1,024 × 1,024 bytes as in Redis's settings. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let at = 0;
  let value = bytes;
  while (value >= 1_024 && at < units.length - 1) {
    value /= 1_024;
    at++;
  }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

/** The two largest units: `2 h 5 min`. */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const units: [string, number][] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ];
  let rest = ms;
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = unit === 's' ? Math.round(rest / size) : Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 && parts.length < 2) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.join(' ');
}

/** Redis stores any characters; those that would move the cursor or start a new line are escaped. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** A number with its noun: `1 socket`, `2 sockets`. */
export function countOf(count: number, noun: string, plural = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : plural}`;
}
