const SAFE_ID = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/**
 * JSON text of `id` without its quotes; quotes inside it become `\\u0022`. The form in Redis: scripts can
 * splice it into JSON, and a double quote separates two ids.
 */
export function escapeId(id: string): string {
  return SAFE_ID.test(id) ? id : JSON.stringify(id).slice(1, -1).replaceAll('\\"', '\\u0022');
}

/** Reverses {@link escapeId}. */
export function unescapeId(text: string): string {
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
}
