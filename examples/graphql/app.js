// @ts-check
import { createServer } from 'node:http';
import { useServer as serveGraphQL } from 'graphql-ws/use/ws';
import { createSchema, createYoga } from 'graphql-yoga';
import { PubSubService } from 'rollcall';
import { GraphQLPubSub } from 'rollcall/graphql';
import { WebSocketServer } from 'ws';

const typeDefs = `
  type Message {
    text: String!
    position: String!
  }
  type Query {
    hello: String!
  }
  type Mutation {
    post(room: String!, text: String!): Boolean!
  }
  type Subscription {
    posted(room: String!, since: String): Message!
  }
`;

/**
 * A GraphQL server on Redis. Subscriptions travel over WebSockets (graphql-ws) or server-sent events (Yoga).
 *
 * @param {import('rollcall').RedisClient} redis
 * @param {{ onError: import('rollcall').ErrorListener }} options
 */
export function createApp(redis, { onError }) {
  const service = new PubSubService({ redis, onError });
  const pubsub = new GraphQLPubSub({
    pubsub: service,
    history: { size: 1_000, ttl: 3_600_000 },
    // The client stores the position of the last message, and passes it as `since` when it subscribes again.
    mapMessage: (message, { position }) => ({ posted: { .../** @type {object} */ (message), position } }),
    onError,
  });

  const schema = createSchema({
    typeDefs,
    resolvers: {
      Query: { hello: () => 'world' },
      Mutation: {
        post: async (_, { room, text }) => {
          await pubsub.publish(`room:${room}`, { text });
          return true;
        },
      },
      Subscription: {
        posted: {
          subscribe: (_, { room, since }) =>
            pubsub.asyncIterableIterator(`room:${room}`, since ? { since } : {}),
        },
      },
    },
  });

  const server = createServer(createYoga({ schema, logging: false }));
  const sockets = serveGraphQL({ schema }, new WebSocketServer({ server, path: '/graphql' }));
  return {
    server,
    async close() {
      await sockets.dispose(); // first, so that clients connect to another server
      server.close();
      await service.close();
    },
  };
}
