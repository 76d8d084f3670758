/** By the rules of Redis Cluster: the non-empty text between the first `{` and the next `}`. */
export function hashTagIn(name: string): string | undefined {
  return /^[^{]*\{([^}]+)\}/.exec(name)?.[1];
}

/** In the slot of `name`; undefined for names with a `}` but no tag, which cannot be in a tag. */
export function hashTagFor(name: string): string | undefined {
  return hashTagIn(name) ?? (name.includes('}') ? undefined : name);
}
