// @ts-check
// Keeps every core busy, as the other processes of a loaded machine do. Started with fork, it is one such process.
import { fork } from 'node:child_process';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';

const OWN_PATH = fileURLToPath(import.meta.url);
const SLICE_MS = 20;

/** One busy process for each core. */
export function startBusyNeighbours() {
  const neighbours = cpus().map(() => fork(OWN_PATH));
  return {
    stop() {
      for (const neighbour of neighbours) neighbour.kill('SIGKILL');
    },
  };
}

function spin() {
  const end = performance.now() + SLICE_MS;
  while (performance.now() < end);
  setImmediate(spin);
}

if (process.argv[1] === OWN_PATH) {
  // The end of the benchmark is noticed between two slices.
  process.on('disconnect', () => process.exit());
  spin();
}
