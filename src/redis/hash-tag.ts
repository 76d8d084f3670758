/** The hash tag in `name`, by Redis Cluster's rules: what stands between its first `{` and the next `}`, if anything. */
export function hashTagIn(name: string): string | undefined {
  return /^[^{]*\{([^}]+)\}/.exec(name)?.[1];
}

/** What, as a hash tag, leads to the slot of `name`; nothing for the few names that cannot be one. */
export function hashTagFor(name: string): string | undefined {
  return hashTagIn(name) ?? (name.includes('}') ? undefined : name);
}
