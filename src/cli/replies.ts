import type { Reply } from '../redis/driver.js';

/** The fields of INFO or CLUSTER INFO. */
export function parseInfo(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

/** Names and values in turn, or a map of RESP3. */
export function toPairs(reply: Reply | undefined): Map<string, string> {
  if (Array.isArray(reply)) {
    const pairs = new Map<string, string>();
    for (let at = 0; at < reply.length; at += 2) pairs.set(String(reply[at]), String(reply[at + 1]));
    return pairs;
  }
  if (typeof reply === 'object' && reply !== null) return new Map(Object.entries(reply as object));
  return new Map();
}
