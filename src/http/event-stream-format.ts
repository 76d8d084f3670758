const LINE_END = /\r\n|\r|\n/;

/** Without an id; {@link formatId} may precede it. Line ends in `data` arrive as `\n`. */
export function formatEvent(event: string, data: string): string {
  // An event without a name is a `message` event.
  const head = event === 'message' ? '' : `event: ${event}\n`;
  // Usually: JSON.stringify writes one line.
  if (!LINE_END.test(data)) return `${head}data: ${data}\n\n`;
  const lines = data.split(LINE_END).map((line) => `data: ${line}\n`);
  return `${head}${lines.join('')}\n`;
}

/** A line end in the name would begin another field. */
export function escapeEventName(name: string): string {
  return name.replace(/[\r\n]/g, (end) => (end === '\n' ? '\\n' : '\\r'));
}

/** Sets the client's last event id, within an event or alone. */
export function formatId(id: string): string {
  return `id: ${id}\n`;
}

/** Delay before the client reconnects. */
export function formatRetry(ms: number): string {
  return `retry: ${Math.round(ms)}\n`;
}

/** Clients ignore comments. The blank line ends the fields before it. */
export const KEEP_ALIVE_COMMENT = ':\n\n';
