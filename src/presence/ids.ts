const SAFE_ID = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/**
 * JSON text of `id` without its quotes, with quotes inside it as `\\u0022`. Redis holds ids in this
 * form: scripts can splice them into JSON as they are, and a double quote, which never occurs in it,
 * can separate two of them.
 */
export function escapeId(id: string): string {
  return SAFE_ID.test(id) ? id : JSON.stringify(id).slice(1, -1).replaceAll('\\"', '\\u0022');
}

/** The id that {@link escapeId} made `text` of. */
export function unescapeId(text: string): string {
  return text.includes('\\') ? (JSON.parse(`"${text}"`) as string) : text;
}
