import type { RollcallError } from '../internal/errors.js';
import { GraphQLPubSub } from './graphql-pubsub.js';
import type { GraphQLPubSubOptions, PayloadIteratorOptions } from './options.js';
import type { PayloadIterator } from './payload-iterator.js';
import { resolveSettings } from './settings.js';

/** By topic, the arguments of `publish`: nothing, a payload, or an id and a payload. As in GraphQL Yoga. */
export type YogaTopics = {
  // biome-ignore lint/suspicious/noExplicitAny: a constraint that every payload fulfils
  [topic: string]: [] | [payload: any] | [id: string | number, payload: any];
};

/** The payload of a topic. */
export type YogaPayload<Args extends YogaTopics[string]> = Args extends [unknown, infer Payload]
  ? Payload
  : Args extends [infer Payload]
    ? Payload
    : null;

/** The methods of GraphQL Yoga's `PubSub`. */
export interface YogaPubSub<Topics extends YogaTopics> {
  /** Publishes a payload, null if there is none. A failure is reported to `onError`. */
  publish<Topic extends Extract<keyof Topics, string>>(topic: Topic, ...args: Topics[Topic]): void;
  /**
   * Returns the payloads of a topic, or of one id of a topic. It subscribes at once.
   *
   * @throws as `asyncIterableIterator` of {@link GraphQLPubSub}.
   */
  subscribe<Topic extends Extract<keyof Topics, string>>(
    topic: Topic,
    ...id: Topics[Topic] extends [infer Id, unknown]
      ? [id: Id, options?: PayloadIteratorOptions]
      : [id?: undefined, options?: PayloadIteratorOptions]
  ): PayloadIterator<YogaPayload<Topics[Topic]>>;
}

/**
 * A replacement of `createPubSub` of GraphQL Yoga on Redis. The channel of a topic is its name, with an id
 * `topic:id`.
 *
 * @throws `InvalidArgumentError` for an invalid option.
 */
export function createYogaPubSub<Topics extends YogaTopics>(
  options: GraphQLPubSubOptions,
): YogaPubSub<Topics> {
  const engine = new GraphQLPubSub(options);
  const { reporter } = resolveSettings(options);
  return {
    publish(topic, ...args) {
      const [first = null, second] = args as [unknown?, unknown?];
      const [channel, payload] = second === undefined ? [topic, first] : [`${topic}:${first}`, second];
      engine.publish(channel, payload).catch((error: RollcallError) => {
        reporter.report(error, { stage: 'publish', channel });
      });
    },
    subscribe(topic, ...[id, options]) {
      return engine.asyncIterableIterator(id === undefined ? topic : `${topic}:${id}`, options);
    },
  };
}
