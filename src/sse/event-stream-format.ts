const LINE_END = /\r\n|\r|\n/;

/**
 * An event without its id, which may be put before it. The standard knows three line ends and keeps none of
 * them: those in `data` arrive as `\n`.
 */
export function formatEvent(event: string, data: string): string {
  // An event without a name is a `message`.
  const head = event === 'message' ? '' : `event: ${event}\n`;
  // Nearly always one line: JSON has no others unless it is written so.
  if (!LINE_END.test(data)) return `${head}data: ${data}\n\n`;
  const lines = data.split(LINE_END).map((line) => `data: ${line}\n`);
  return `${head}${lines.join('')}\n`;
}

/** A line end in an event's name would begin another field. */
export function escapeEventName(name: string): string {
  return name.replace(/[\r\n]/g, (end) => (end === '\n' ? '\\n' : '\\r'));
}

/** The line that, within an event or alone, says where the client stands from now on. */
export function formatId(id: string): string {
  return `id: ${id}\n`;
}

/** After how many ms a client that lost its connection is to come back. */
export function formatRetry(ms: number): string {
  return `retry: ${Math.round(ms)}\n`;
}

/** What clients ignore; with the blank line that ends whatever stands before it. */
export const KEEP_ALIVE_COMMENT = ':\n\n';
