import { createHash } from 'node:crypto';
import { type Command, isScriptCall, type PlainCommand, type Reply, type Script } from './driver.js';

export function defineScript(name: string, source: string): Script {
  return { name, source, sha: createHash('sha1').update(source).digest('hex') };
}

/**
 * Sends EVALSHA, or EVAL if the server may lack the script. In a pipeline SCRIPT LOAD precedes the first EVAL,
 * because Redis 7.4 and Valkey 8 keep only the latest 500 scripts sent by EVAL. Inside MULTI a missing script replies
 * NOSCRIPT while the other commands are applied, so the whole batch, which must be idempotent, runs again with EVAL.
 * In a pipeline only the commands that did not run are sent again.
 */
export class ScriptRunner {
  readonly #known = new Set<string>();
  /** SCRIPT LOAD is unsupported or not permitted. */
  #cannotLoad = false;

  /** A new connection may lead to another server, which may not have the scripts. */
  reset(): void {
    this.#known.clear();
    this.#cannotLoad = false;
  }

  /** Resolves with one reply for each command. `send` sends plain commands; `atomic`: as one transaction. */
  async run(
    commands: readonly Command[],
    send: (commands: readonly PlainCommand[]) => Promise<Reply[]>,
    atomic: boolean,
  ): Promise<Reply[]> {
    const scripts = new Set<Script>();
    for (const command of commands) if (isScriptCall(command)) scripts.add(command.script);
    if (scripts.size === 0) return send(commands as readonly PlainCommand[]);

    const unknown = [...scripts].filter(({ sha }) => !this.#known.has(sha));
    const replies = await this.#sendLoading(atomic ? [] : unknown, this.#expand(commands), send);
    if (replies.some(isNoScript)) {
      for (const script of scripts) this.#known.delete(script.sha);
      const again = [...commands.keys()].filter((at) => atomic || isNoScript(replies[at]));
      const repeated = again.map((at) => commands[at] as Command);
      const missing = [...scripts].filter((script) =>
        repeated.some((command) => isScriptCall(command) && command.script === script),
      );
      const more = await this.#sendLoading(atomic ? [] : missing, this.#expand(repeated), send);
      again.forEach((at, place) => {
        replies[at] = more[place] as Reply;
      });
    }
    for (const script of scripts) this.#known.add(script.sha);
    return replies;
  }

  /** One round trip. Not in MULTI, which a refused command aborts. */
  async #sendLoading(
    scripts: readonly Script[],
    commands: readonly PlainCommand[],
    send: (commands: readonly PlainCommand[]) => Promise<Reply[]>,
  ): Promise<Reply[]> {
    if (scripts.length === 0 || this.#cannotLoad) return send(commands);
    const loads = scripts.map(({ source }): PlainCommand => ['SCRIPT', 'LOAD', source]);
    const replies = await send([...loads, ...commands]);
    const loaded = replies.splice(0, loads.length);
    if (loaded.some((reply) => reply instanceof Error)) this.#cannotLoad = true;
    return replies;
  }

  #expand(commands: readonly Command[]): PlainCommand[] {
    return commands.map((command): PlainCommand => {
      if (!isScriptCall(command)) return command;
      const { script, keys, args } = command;
      const count = String(keys.length);
      return this.#known.has(script.sha)
        ? ['EVALSHA', script.sha, count, ...keys, ...args]
        : ['EVAL', script.source, count, ...keys, ...args];
    });
  }
}

function isNoScript(reply: Reply | undefined): boolean {
  return reply instanceof Error && reply.message.startsWith('NOSCRIPT');
}
