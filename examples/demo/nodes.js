// @ts-check

/** The nodes there should be, and which of them run. */
export class Nodes {
  /** @type {Map<string, Promise<void>>} */
  #starting = new Map();
  /** @type {Map<string, import('./worlds.js').RunningNode>} */
  #running = new Map();
  #names;
  #launch;
  #changed;

  /**
   * @param {readonly string[]} names
   * @param {import('./worlds.js').Launch} launch
   * @param {() => void} changed called whenever a node came or went
   */
  constructor(names, launch, changed) {
    this.#names = names;
    this.#launch = launch;
    this.#changed = changed;
  }

  list() {
    return this.#names.map((name) => ({ name, up: this.#running.has(name) }));
  }

  /** @param {string} name */
  has(name) {
    return this.#names.includes(name);
  }

  /**
   * Where the node listens, while it runs.
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
      let gone = false;
      const node = await this.#launch(name, () => {
        gone = true;
        if (this.#running.delete(name)) this.#changed();
      });
      if (!gone) this.#running.set(name, node);
    } finally {
      this.#starting.delete(name);
    }
    this.#changed();
  }

  /** @param {string} name */
  async #stop(name) {
    const node = this.#running.get(name);
    // Nobody is sent there any more.
    this.#running.delete(name);
    this.#changed();
    await node?.stop();
  }
}
