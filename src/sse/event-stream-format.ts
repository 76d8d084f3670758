const LINE_END = /\r\n|\r|\n/;

/**
 * Formats an event without an id; {@link formatId} may precede it. An event stream does not preserve line ends:
 * those in `data` arrive as `\n`.
 */
export function formatEvent(event: string, data: string): string {
  // An event without a name is a `message` event.
  const head = event === 'message' ? '' : `event: ${event}\n`;
  // The usual path: JSON.stringify writes one line.
  if (!LINE_END.test(data)) return `${head}data: ${data}\n\n`;
  const lines = data.split(LINE_END).map((line) => `data: ${line}\n`);
  return `${head}${lines.join('')}\n`;
}

/** A line end in an event's name would begin another field. */
export function escapeEventName(name: string): string {
  return name.replace(/[\r\n]/g, (end) => (end === '\n' ? '\\n' : '\\r'));
}

/** The line sets the client's last event id, within an event or alone. */
export function formatId(id: string): string {
  return `id: ${id}\n`;
}

/** `ms` is the delay before the client reconnects. */
export function formatRetry(ms: number): string {
  return `retry: ${Math.round(ms)}\n`;
}

/** Clients ignore comments. The blank line ends the fields before it. */
export const KEEP_ALIVE_COMMENT = ':\n\n';
