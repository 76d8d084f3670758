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

  /**
   * The port of a running node.
   * @param {string} name
   */
  port(name) {
    return this.#running.get(name)?.port;
  }

  /** @param {string} name */
  start(name) {
    if (this.#running.has(name)) return Promise.resolve();
    const starting = this.#starting.get(name) ?? this.#start(name);
    this.#starting.set(name, starting);
    return starting;
  }

  /** @param {string} name */
  kill(name) {
    this.#running.get(name)?.kill();
  }

  /** @param {string} name */
  async restart(name) {
    await this.#stop(name);
    await this.start(name);
  }

  startAll() {
    return Promise.all(this.#names.map((name) => this.start(name)));
  }

  stopAll() {
    return Promise.all(this.#names.map((name) => this.#stop(name)));
  }

  /** @param {string} name */
  async #start(name) {
    try {
      let exited = false;
      const node = await this.#launch(name, () => {
        exited = true;
        if (this.#running.delete(name)) this.#onChange();
      });
      if (!exited) this.#running.set(name, node);
    } finally {
      this.#starting.delete(name);
    }
    this.#onChange();
  }

  /** @param {string} name */
  async #stop(name) {
    const node = this.#running.get(name);
    // No further clients are assigned to it.
    this.#running.delete(name);
    this.#onChange();
    await node?.stop();
  }
}
