// @ts-check

/**
 * A history as it is often written by hand: a stream per channel, one script per message. Unlike rollcall's, a subscriber
 * cannot tell that it missed a message, and a position can be given twice after a failover.
 */
const SCRIPT = `
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'm', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('PUBLISH', ARGV[4], ARGV[1])`;

/**
 * @param {import('./clients.js').Library} library
 * @param {any} client
 * @param {{ size: number, ttl: number }} history
 * @returns {Promise<(channel: string, payload: string) => Promise<unknown>>}
 */
export async function appendScript(library, client, { size, ttl }) {
  const [kept, expiry] = [String(size), String(ttl)];
  if (library === 'ioredis') {
    const sha = await client.script('LOAD', SCRIPT);
    return (channel, payload) => client.evalsha(sha, 1, `history:${channel}`, payload, kept, expiry, channel);
  }
  const sha = await client.scriptLoad(SCRIPT);
  return (channel, payload) =>
    client.evalSha(sha, { keys: [`history:${channel}`], arguments: [payload, kept, expiry, channel] });
}
