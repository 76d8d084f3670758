/** By the rules of Redis Cluster: the non-empty text between the first `{` and the next `}`. */
export function hashTagIn(name: string): string | undefined {
  const open = name.indexOf('{');
  if (open < 0) return undefined;
  const close = name.indexOf('}', open + 1);
  return close > open + 1 ? name.slice(open + 1, close) : undefined;
}

/** In the slot of `name`; undefined for names with a `}` but no tag, which cannot be in a tag. */
export function hashTagFor(name: string): string | undefined {
  return hashTagIn(name) ?? (name.includes('}') ? undefined : name);
}
