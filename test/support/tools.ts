import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The program that `variable` names, or else the first of `names` that is on PATH. */
function findProgram(variable: string, names: string[]): string | undefined {
  const named = process.env[variable];
  // A variable that names nothing runnable counts as "not found": falling back to another
  // program would test something other than what was asked for.
  if (named) return isProgram(named) ? named : undefined;
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean);
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isProgram);
}

export const findRedisServer = (): string | undefined => findProgram('REDIS_SERVER', ['redis-server']);

export const findOpenssl = (): string | undefined => findProgram('OPENSSL', ['openssl']);

export const findChromium = (): string | undefined =>
  findProgram('CHROMIUM', ['chromium', 'chromium-browser', 'google-chrome']);
