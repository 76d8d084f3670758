import { createHash } from 'node:crypto';
import { type Command, isScriptCall, type PlainCommand, type Reply, type Script } from './driver.js';

/** Makes a {@link Script} of `source`. */
export function defineScript(name: string, source: string): Script {
  return { name, source, sha: createHash('sha1').update(source).digest('hex') };
}

/**
 * Sends script calls as EVALSHA, and as EVAL if the server is not known to have the script.
 *
 * Inside MULTI a missing script replies NOSCRIPT while the other commands are applied, so the whole
 * batch, which must be idempotent, is run again with EVAL. In a pipeline only the commands that
 * were not run are sent again.
 */
export class ScriptRunner {
  readonly #known = new Set<string>();

  /** A new connection may lead to another server, which may not have the scripts. */
  reset(): void {
    this.#known.clear();
  }

  /** Sends `commands` with `send`, which takes plain commands. */
  async run(
    commands: readonly Command[],
    send: (commands: readonly PlainCommand[]) => Promise<Reply[]>,
    atomic: boolean,
  ): Promise<Reply[]> {
    const scripts = new Set<Script>();
    for (const command of commands) if (isScriptCall(command)) scripts.add(command.script);
    if (scripts.size === 0) return send(commands as readonly PlainCommand[]);

    const replies = await send(this.#expand(commands, (script) => this.#known.has(script.sha)));
    if (replies.some(isNoScript)) {
      for (const script of scripts) this.#known.delete(script.sha);
      const again = [...commands.keys()].filter((at) => atomic || isNoScript(replies[at]));
      const more = await send(
        this.#expand(
          again.map((at) => commands[at] as Command),
          () => false,
        ),
      );
      again.forEach((at, place) => {
        replies[at] = more[place] as Reply;
      });
    }
    for (const script of scripts) this.#known.add(script.sha);
    return replies;
  }

  #expand(commands: readonly Command[], byDigest: (script: Script) => boolean): PlainCommand[] {
    return commands.map((command): PlainCommand => {
      if (!isScriptCall(command)) return command;
      const { script, keys, args } = command;
      const count = String(keys.length);
      return byDigest(script)
        ? ['EVALSHA', script.sha, count, ...keys, ...args]
        : ['EVAL', script.source, count, ...keys, ...args];
    });
  }
}

function isNoScript(reply: Reply | undefined): boolean {
  return reply instanceof Error && reply.message.startsWith('NOSCRIPT');
}
