// @ts-check
import { createHmac, timingSafeEqual } from 'node:crypto';

// A session cookie that every server can check, because all know the secret. Yours comes from your login.
const SECRET = process.env['SECRET'] ?? 'only for this tutorial';

/** @param {string} user */
function sign(user) {
  return createHmac('sha256', SECRET).update(user).digest('base64url');
}

/** @param {string} user */
export function createCookie(user) {
  return `session=${encodeURIComponent(user)}.${sign(user)}`;
}

/**
 * The user of a `cookie` header, or null.
 *
 * @param {string | undefined} cookie
 */
export function userOf(cookie = '') {
  const [, encoded, signature = ''] = /(?:^|; )session=([^.;]+)\.([\w-]+)/.exec(cookie) ?? [];
  if (encoded === undefined) return null;
  try {
    const user = decodeURIComponent(encoded);
    const expected = Buffer.from(sign(user));
    const given = Buffer.from(signature);
    return given.length === expected.length && timingSafeEqual(given, expected) ? user : null;
  } catch {
    return null; // not encoded as an URI component
  }
}
