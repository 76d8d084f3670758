/** `text` as a glob pattern that matches `text` alone, for `psubscribe` and ACL rules. */
export function escapePattern(text: string): string {
  return text.replace(/[\\*?[\]^-]/g, '\\$&');
}
