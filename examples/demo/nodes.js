// @ts-check

/** @typedef {ReturnType<typeof createNodes>} Nodes */

/**
 * Starts, restarts and kills the nodes of the demo.
 *
 * @param {readonly string[]} names
 * @param {import('./backends.js').Launch} launch
 * @param {() => void} onChange called when a node starts or ends
 */
export function createNodes(names, launch, onChange) {
  /** @type {Map<string, import('./backends.js').RunningNode>} */
  const running = new Map();
  /** @type {Map<string, Promise<void>>} */
  const starting = new Map();

  /** @param {string} name */
  const remove = (name) => void (running.delete(name) && onChange());

  /** @param {string} name */
  async function launchNode(name) {
    let hasExited = false;
    const node = await launch(name, () => {
      hasExited = true;
      remove(name);
    });
    if (!hasExited) running.set(name, node);
    onChange();
  }

  /** @param {string} name */
  async function start(name) {
    if (running.has(name)) return;
    const launching = starting.get(name) ?? launchNode(name);
    starting.set(name, launching);
    await launching.finally(() => starting.delete(name));
  }

  /** @param {string} name */
  async function stop(name) {
    const node = running.get(name);
    // No further clients are assigned to it.
    remove(name);
    await node?.stop();
  }

  return {
    start,
    stop,
    list: () => names.map((name) => ({ name, up: running.has(name) })),
    /** @param {string} name */
    port: (name) => running.get(name)?.port,
    /** @param {string} name */
    kill: (name) => running.get(name)?.kill(),
    /** @param {string} name */
    restart: (name) => stop(name).then(() => start(name)),
  };
}
