/** Redis's own glob rules (stringmatchlen in util.c), for names whose characters are compared whole. */
export function globMatches(pattern: string, text: string): boolean {
  return matches([...pattern], 0, [...text], 0);
}

function matches(pattern: string[], p: number, text: string[], t: number): boolean {
  for (; p < pattern.length; p++, t++) {
    const char = pattern[p];
    if (char === '*') {
      while (pattern[p + 1] === '*') p++;
      if (p + 1 === pattern.length) return true;
      for (let at = t; at <= text.length; at++) if (matches(pattern, p + 1, text, at)) return true;
      return false;
    }
    if (t >= text.length) return false;
    const subject = text[t] as string;
    if (char === '[') {
      p++;
      const not = pattern[p] === '^';
      if (not) p++;
      let found = false;
      for (; ; p++) {
        if (pattern[p] === '\\' && p + 1 < pattern.length) {
          p++;
          if (pattern[p] === subject) found = true;
        } else if (pattern[p] === ']') {
          break;
        } else if (p >= pattern.length) {
          p--;
          break;
        } else if (pattern[p + 1] === '-' && p + 2 < pattern.length) {
          const [low, high] = [pattern[p] as string, pattern[p + 2] as string].sort();
          if (subject >= (low as string) && subject <= (high as string)) found = true;
          p += 2;
        } else if (pattern[p] === subject) {
          found = true;
        }
      }
      if (found === not) return false;
    } else if (char !== '?') {
      if (char === '\\' && p + 1 < pattern.length) p++;
      if (pattern[p] !== subject) return false;
    }
  }
  return t === text.length;
}
