// @ts-check

/** Channel on which the handwritten presence publishes changes. */
export const CHANGES = 'presence:changes';

const TTL = 3_600;

/** @param {string} user */
const hashOf = (user) => `presence:user:${user}`;
/** @param {string} user */
const socketsOf = (user) => `presence:sockets:${user}`;

/**
 * @param {string} userId
 * @param {string} status
 */
const change = (userId, status) => JSON.stringify({ userId, status, lastSeen: Date.now() });

/**
 * @param {string} userId
 * @param {Record<string, string>} hash
 * @param {string[]} socketIds
 */
function found(userId, hash, socketIds) {
  return { userId, status: hash['status'], lastSeen: new Date(Number(hash['lastSeen'])), socketIds };
}

/**
 * Presence as it is often written by hand: a hash and a set per user. It guarantees less than rollcall:
 * a process that dies leaves its users online forever, two tabs overwrite each other's status, and the
 * change is not published atomically with the write.
 */
export const handwritten = {
  /** @param {import('redis').RedisClientType} client */
  'node-redis': (client) => ({
    /**
     * @param {string} user
     * @param {string} socket
     * @param {string} status
     */
    async set(user, socket, status) {
      await client
        .multi()
        .hSet(hashOf(user), { status, lastSeen: Date.now() })
        .sAdd(socketsOf(user), socket)
        .expire(hashOf(user), TTL)
        .exec();
      await client.publish(CHANGES, change(user, status));
    },
    /**
     * @param {string} user
     * @param {string} socket
     */
    async remove(user, socket) {
      await client.sRem(socketsOf(user), socket);
      if ((await client.sCard(socketsOf(user))) > 0) return;
      await client.hSet(hashOf(user), { status: 'offline', lastSeen: Date.now() });
      await client.publish(CHANGES, change(user, 'offline'));
    },
    /** @param {string[]} users */
    async get(users) {
      const multi = client.multi();
      for (const user of users) multi.hGetAll(hashOf(user)).sMembers(socketsOf(user));
      const replies = /** @type {any[]} */ (/** @type {unknown} */ (await multi.exec()));
      const result = new Map();
      users.forEach((user, at) => {
        const hash = replies[2 * at];
        if (hash.status !== undefined) result.set(user, found(user, hash, replies[2 * at + 1]));
      });
      return result;
    },
  }),

  /** @param {import('ioredis').Redis} client */
  ioredis: (client) => ({
    /**
     * @param {string} user
     * @param {string} socket
     * @param {string} status
     */
    async set(user, socket, status) {
      await client
        .multi()
        .hset(hashOf(user), { status, lastSeen: Date.now() })
        .sadd(socketsOf(user), socket)
        .expire(hashOf(user), TTL)
        .exec();
      await client.publish(CHANGES, change(user, status));
    },
    /**
     * @param {string} user
     * @param {string} socket
     */
    async remove(user, socket) {
      await client.srem(socketsOf(user), socket);
      if ((await client.scard(socketsOf(user))) > 0) return;
      await client.hset(hashOf(user), { status: 'offline', lastSeen: Date.now() });
      await client.publish(CHANGES, change(user, 'offline'));
    },
    /** @param {string[]} users */
    async get(users) {
      const multi = client.multi();
      for (const user of users) multi.hgetall(hashOf(user)).smembers(socketsOf(user));
      const replies = /** @type {[Error | null, any][]} */ (await multi.exec());
      const result = new Map();
      users.forEach((user, at) => {
        const hash = replies[2 * at]?.[1];
        if (hash.status !== undefined) result.set(user, found(user, hash, replies[2 * at + 1]?.[1]));
      });
      return result;
    },
  }),
};

/** One hash per user: a status and when it was set. KEYS hash; ARGV TTL in s, status, time in ms, message. */
const SET_SCRIPT = `
redis.call('HSET', KEYS[1], 'status', ARGV[2], 'lastSeen', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('PUBLISH', '${CHANGES}', ARGV[4])`;

/**
 * The minimum that a script can do: one hash per user, without sockets. Two tabs count as one, and the death of a process is not noticed.
 *
 * @param {(key: string, args: string[]) => Promise<unknown>} run
 * @param {(keys: string[]) => Promise<(string | null)[]>} statuses
 */
function oneHash(run, statuses) {
  /**
   * @param {string} user
   * @param {string} status
   */
  const write = (user, status) =>
    run(hashOf(user), [String(TTL), status, String(Date.now()), change(user, status)]);
  return {
    /**
     * @param {string} user
     * @param {string} _socket
     * @param {string} status
     */
    set: (user, _socket, status) => write(user, status),
    /** @param {string} user */
    remove: (user) => write(user, 'offline'),
    /** @param {string[]} users */
    get: (users) => statuses(users.map(hashOf)),
  };
}

export const handwrittenScript = {
  /** @param {any} client */
  async 'node-redis'(client) {
    const sha = await client.scriptLoad(SET_SCRIPT);
    return oneHash(
      (key, args) => client.evalSha(sha, { keys: [key], arguments: args }),
      (keys) => Promise.all(keys.map((key) => client.hGet(key, 'status'))),
    );
  },
  /** @param {any} client */
  async ioredis(client) {
    const sha = await client.script('LOAD', SET_SCRIPT);
    return oneHash(
      (key, args) => client.evalsha(sha, 1, key, ...args),
      (keys) => Promise.all(keys.map((key) => client.hget(key, 'status'))),
    );
  },
};

/**
 * The same with `@colyseus/redis-presence`, which sends single commands: nothing is atomic.
 *
 * @param {any} presence
 */
export const colyseusPresence = (presence) => ({
  /**
   * @param {string} user
   * @param {string} socket
   * @param {string} status
   */
  async set(user, socket, status) {
    await Promise.all([
      presence.hset(hashOf(user), 'status', status),
      presence.hset(hashOf(user), 'lastSeen', String(Date.now())),
      presence.sadd(socketsOf(user), socket),
      presence.expire(hashOf(user), TTL),
      presence.publish(CHANGES, { userId: user, status, lastSeen: Date.now() }),
    ]);
  },
  /**
   * @param {string} user
   * @param {string} socket
   */
  async remove(user, socket) {
    await presence.srem(socketsOf(user), socket);
    if ((await presence.scard(socketsOf(user))) > 0) return;
    await Promise.all([
      presence.hset(hashOf(user), 'status', 'offline'),
      presence.hset(hashOf(user), 'lastSeen', String(Date.now())),
      presence.publish(CHANGES, { userId: user, status: 'offline', lastSeen: Date.now() }),
    ]);
  },
  /** @param {string[]} users */
  async get(users) {
    const replies = await Promise.all(
      users.flatMap((user) => [presence.hgetall(hashOf(user)), presence.smembers(socketsOf(user))]),
    );
    const result = new Map();
    users.forEach((user, at) => {
      const hash = replies[2 * at];
      if (hash.status !== undefined) result.set(user, found(user, hash, replies[2 * at + 1]));
    });
    return result;
  },
});

/**
 * Number of users that the handwritten presence shows as online.
 *
 * @param {import('ioredis').Redis} control
 */
export async function countOnline(control) {
  const hashes = await control.keys(hashOf('*'));
  const pipeline = control.pipeline();
  for (const hash of hashes) pipeline.hget(hash, 'status');
  const replies = (await pipeline.exec()) ?? [];
  return replies.filter(([, status]) => status !== 'offline').length;
}
