export { GraphQLPubSub } from './graphql-pubsub.js';
export type {
  GraphQLPubSubOptions,
  PayloadDiscontinuityHandler,
  PayloadIteratorOptions,
  TriggerSubscribeOptions,
  YogaEventTargetOptions,
} from './options.js';
export type { PayloadIterator } from './payload-iterator.js';
export type {
  YogaEvent,
  YogaEventListener,
  YogaEventListenerObject,
  YogaEventTarget,
} from './yoga-event-target.js';
export { createYogaEventTarget } from './yoga-event-target.js';
export type { YogaPayload, YogaPubSub, YogaTopics } from './yoga-pubsub.js';
export { createYogaPubSub } from './yoga-pubsub.js';
