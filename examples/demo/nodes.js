/** Starts, restarts and kills the nodes. `onChange` is called when one has started or ended. */
export function createNodes(names, launch, onChange) {
  const running = new Map();
  const starting = new Map();

  const remove = (name) => {
    if (running.delete(name)) onChange();
  };
  const launchNode = async (name) => {
    running.set(name, await launch(name, () => remove(name)));
    onChange();
  };
  const start = async (name) => {
    if (running.has(name)) return;
    const launching = starting.get(name) ?? launchNode(name).finally(() => starting.delete(name));
    starting.set(name, launching);
    await launching;
  };
  const stop = async (name) => {
    const node = running.get(name);
    // No further clients are assigned to it.
    remove(name);
    await node?.stop();
  };
  return {
    start,
    stop,
    restart: (name) => stop(name).then(() => start(name)),
    kill: (name) => running.get(name)?.kill(),
    port: (name) => running.get(name)?.port,
    list: () => names.map((name) => ({ name, up: running.has(name) })),
  };
}
