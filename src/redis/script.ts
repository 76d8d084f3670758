import { createHash } from 'node:crypto';
import { type Command, isScriptCall, type PlainCommand, type Reply, type Script } from './driver.js';

/** Names `source` for use in script calls. */
export function defineScript(name: string, source: string): Script {
  return { name, source, sha: createHash('sha1').update(source).digest('hex') };
}

/**
 * Turns script calls into EVALSHA, and into EVAL where the server is not known to have the script.
 *
 * Inside MULTI a missing script answers NOSCRIPT while its neighbours are applied, so the only sound
 * repair is to run the whole, idempotent batch again, with the sources in it. In a pipeline each
 * command stands for itself: those that were not run are sent again, and no other.
 */
export class ScriptRunner {
  readonly #known = new Set<string>();

  /** A new connection may lead to another server: nothing is known about it. */
  reset(): void {
    this.#known.clear();
  }

  /** Sends `commands` through `send`, which takes commands as they go over the wire. */
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
