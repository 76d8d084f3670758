/** Escapes `text` to a glob pattern that matches only `text`, for `psubscribe` and ACL rules. */
export function escapePattern(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, '\\$&');
}
