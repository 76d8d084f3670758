// @ts-check
import { once } from 'node:events';
import { createConnection } from 'node:net';

/** `+1700000000.123456 [0 127.0.0.1:40000] "ZSCORE" …`, or `[0 lua] "zscore"`. */
const LINE = /^\+[\d.]+ \[\d+ (\S+)\] "(\w+)/;

/**
 * Counts commands as MONITOR shows them: those that clients send, and those that scripts run.
 *
 * @param {number} port
 * @param {string[]} [ignored] commands that are not counted, in capitals
 */
export async function monitor(port, ignored = []) {
  const counts = { sent: 0, inScripts: 0 };
  const socket = createConnection(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write('MONITOR\r\n');
  let rest = '';
  let ready = () => {};
  const started = new Promise((resolve) => {
    ready = () => resolve(undefined);
  });
  socket.setEncoding('latin1');
  socket.on('data', (/** @type {string} */ chunk) => {
    const lines = (rest + chunk).split('\r\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '+OK') ready();
      const [, from, command = ''] = LINE.exec(line.slice(0, 100)) ?? [];
      if (from === undefined || ignored.includes(command.toUpperCase())) continue;
      if (from === 'lua') counts.inScripts++;
      else counts.sent++;
    }
  });
  await started;
  return { counts, stop: () => socket.destroy() };
}
