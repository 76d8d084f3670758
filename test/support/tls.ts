import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findOpenssl } from './tools.js';

/** A certificate authority of its own, and a server's certificate for 127.0.0.1 that it has signed. */
export interface Certificates {
  /** In PEM. */
  readonly ca: string;
  /** Arguments of a server without its `--tls-port`. */
  readonly args: readonly string[];
  remove(): void;
}

/** Needs the program openssl. */
export function createCertificates(): Certificates {
  const dir = mkdtempSync(join(tmpdir(), 'rollcall-tls-'));
  const file = (name: string) => join(dir, name);
  const program = findOpenssl();
  if (program === undefined) throw new Error('there is no openssl');
  const openssl = (...args: string[]) => execFileSync(program, args, { cwd: dir, stdio: 'pipe' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    '/CN=test CA',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
  );
  openssl('req', ...newKey, '-subj', '/CN=127.0.0.1', '-keyout', 'server.key', '-out', 'server.csr');
  writeFileSync(file('names'), 'subjectAltName=IP:127.0.0.1');
  const ca = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'];
  openssl(
    'x509',
    '-req',
    '-in',
    'server.csr',
    ...ca,
    '-days',
    '2',
    '-extfile',
    'names',
    '-out',
    'server.crt',
  );
  return {
    ca: readFileSync(file('ca.crt'), 'utf8'),
    // biome-ignore format: one option a line reads better
    args: [
      '--tls-cert-file', file('server.crt'),
      '--tls-key-file', file('server.key'),
      '--tls-ca-cert-file', file('ca.crt'),
      '--tls-auth-clients', 'no',
    ],
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}
