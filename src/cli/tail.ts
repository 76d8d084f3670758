import { isPosition, publishedAt } from '../history/position.js';
import type { Discontinuity } from '../pubsub/discontinuity.js';
import type { MessagesOptions } from '../pubsub/options.js';
import { PubSubService } from '../pubsub/pubsub-service.js';
import type { CliCommand, CommandContext } from './command.js';
import { printable } from './output.js';
import { UsageError } from './usage-error.js';
import { numberOption } from './values.js';

export const tail: CliCommand = {
  name: 'tail',
  args: ['CHANNEL'],
  summary: 'prints the messages of a channel as they arrive, and every gap',
  endless: true,
  options: {
    since: {
      type: 'string',
      help: 'begin after this position, with "earliest" at the oldest message that is kept, with "latest" now (default: at the first message that arrives)',
    },
    pattern: { type: 'boolean', help: 'CHANNEL is a pattern' },
    sharded: { type: 'boolean', help: 'CHANNEL is a sharded channel' },
    count: { type: 'string', help: 'end after this number of messages' },
    wait: { type: 'string', help: 'for how many ms to wait for a server that is gone (default: 30000)' },
    'pubsub-prefix': { type: 'string', help: 'prefix of your PubSubService (default: none)' },
  },
  async run({ open, output, args, values, signal }) {
    const [channel = ''] = args;
    const count = numberOption('count', values['count'], Number.POSITIVE_INFINITY, 1);
    const wait = numberOption('wait', values['wait'], 30_000, 1);
    const options = streamOptions(values);
    const connection = await open();
    const pubsub = new PubSubService({
      redis: connection.client,
      prefix: String(values['pubsub-prefix'] ?? ''),
      timeout: connection.timeout,
      // A user who may only read cannot publish probes.
      probeInterval: 0,
      onError: (error) => warn(error.message),
    });
    const stream = pubsub.messages<string>(channel, { ...options, discontinuities: true, signal });
    let failure: Error | undefined;
    const stopWatching = connection.watchState({
      lost: (reason) => warn(`the connection is lost: ${reason}; waiting up to ${wait} ms`),
      gone: (error) => {
        failure = error;
        void stream.return().catch(() => {});
      },
      wait,
    });
    try {
      await stream.ready;
      let printed = 0;
      for await (const item of stream) {
        if ('discontinuity' in item) {
          output.event({ gap: item.discontinuity }, () => describeGap(item.discontinuity, output));
          continue;
        }
        const { message, channel: name, position } = item;
        const at = position === undefined ? new Date() : new Date(publishedAt(position));
        output.event({ channel: name, position, at, payload: parsePayload(message) }, () =>
          [
            at.toISOString(),
            ...(options.pattern === true ? [printable(name)] : []),
            ...(position === undefined ? [] : [output.paint('gray', position)]),
            printable(String(message)),
          ].join('  '),
        );
        if (++printed >= count) break;
      }
      if (failure !== undefined) throw failure;
      return 0;
    } finally {
      stopWatching();
      await pubsub.close();
    }
  },
};

function streamOptions(values: CommandContext['values']): MessagesOptions {
  const { since } = values;
  const pattern = values['pattern'] === true;
  if (pattern && (since !== undefined || values['sharded'] === true)) {
    throw new UsageError('--pattern cannot be combined with --since or --sharded');
  }
  if (since !== undefined && since !== 'earliest' && since !== 'latest' && !isPosition(since)) {
    throw new UsageError(
      '--since must be a position, such as 1795913943407894-482563, "earliest" or "latest"',
    );
  }
  return {
    raw: true,
    capacity: 10_000,
    pattern,
    sharded: values['sharded'] === true,
    ...(since === undefined ? {} : { since: since as string }),
  };
}

function warn(text: string): void {
  process.stderr.write(`rollcall: ${text.replaceAll(/\s*\n\s*/g, ' ')}\n`);
}

function describeGap({ reason, since, recovered }: Discontinuity, output: CommandContext['output']): string {
  const outcome = recovered ? 'no message is missing' : 'messages may be missing';
  return output.paint(
    recovered ? 'yellow' : 'red',
    `-- gap (${reason}) since ${since.toISOString()}: ${outcome}`,
  );
}

/** JSON as such, anything else as text. */
function parsePayload(payload: string | Buffer): unknown {
  try {
    return JSON.parse(String(payload));
  } catch {
    return String(payload);
  }
}
