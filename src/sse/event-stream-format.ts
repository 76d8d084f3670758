const LINE_END = /\r\n|\r|\n/;

/**
 * Formats an event without an id; {@link formatId} may be written before it. An event stream has three kinds
 * of line end and keeps none of them: those in `data` arrive as `\n`.
 */
export function formatEvent(event: string, data: string): string {
  // An event without a name is a `message` event.
  const head = event === 'message' ? '' : `event: ${event}\n`;
  // JSON.stringify writes one line, so this is the usual path.
  if (!LINE_END.test(data)) return `${head}data: ${data}\n\n`;
  const lines = data.split(LINE_END).map((line) => `data: ${line}\n`);
  return `${head}${lines.join('')}\n`;
}

/** Escapes line ends: in an event's name they would begin another field. */
export function escapeEventName(name: string): string {
  return name.replace(/[\r\n]/g, (end) => (end === '\n' ? '\\n' : '\\r'));
}

/** Formats the line that sets the client's last event id, within an event or alone. */
export function formatId(id: string): string {
  return `id: ${id}\n`;
}

/** Formats the delay in ms before the client reconnects. */
export function formatRetry(ms: number): string {
  return `retry: ${Math.round(ms)}\n`;
}

/** A comment, which clients ignore. The blank line ends the fields written before it. */
export const KEEP_ALIVE_COMMENT = ':\n\n';
