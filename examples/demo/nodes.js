// @ts-check

/** Starts, restarts and kills the nodes of the demo. */
export class Nodes {
  /** @type {Map<string, Promise<void>>} */
  #starting = new Map();
  /** @type {Map<string, import('./backends.js').RunningNode>} */
  #running = new Map();
  #names;
  #launch;
  #onChange;

  /**
   * @param {readonly string[]} names
   * @param {import('./backends.js').Launch} launch
   * @param {() => void} onChange called when a node starts or ends
   */
  constructor(names, launch, onChange) {
    this.#names = names;
    this.#launch = launch;
    this.#onChange = onChange;
  }

  list() {
    return this.#names.map((name) => ({ name, up: this.#running.has(name) }));
  }

  /** @param {string} name */
  has(name) {
    return this.#names.includes(name);
  }

  /** @param {string} name */
  port(name) {
    return this.#running.get(name)?.port;
  }

  /** @param {string} name */
  async start(name) {
    if (this.#running.has(name)) return;
    const starting = this.#starting.get(name) ?? this.#start(name);
    this.#starting.set(name, starting);
    await starting.finally(() => this.#starting.delete(name));
  }

  /** @param {string} name */
  kill(name) {
    this.#running.get(name)?.kill();
  }

  /** @param {string} name */
  async restart(name) {
    await this.stop(name);
    await this.start(name);
  }

  /** @param {string} name */
  async stop(name) {
    const node = this.#running.get(name);
    // No further clients are assigned to it.
    this.#onExit(name);
    await node?.stop();
  }

  /** @param {string} name */
  async #start(name) {
    const exited = new AbortController();
    const node = await this.#launch(name, () => {
      exited.abort();
      this.#onExit(name);
    });
    if (!exited.signal.aborted) this.#running.set(name, node);
    this.#onChange();
  }

  /** @param {string} name */
  #onExit(name) {
    if (this.#running.delete(name)) this.#onChange();
  }
}
