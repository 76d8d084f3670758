/** A comment in front of an event from the history. Other clients ignore it, as all comments. */
export const REPLAYED_COMMENT = ':replayed';

/** The name of a field, which comments lack, and its value. */
const LINE = /^([^:]*)(?:: ?(.*))?$/s;

/** One event, as the stream carries it. */
export interface ParsedEvent {
  /** `message` if the server names none. */
  readonly event: string;
  /** Lines are joined with `\n`. */
  readonly data: string;
  /** After {@link REPLAYED_COMMENT}. */
  readonly replayed: boolean;
}

export interface EventParserListener {
  onEvent(event: ParsedEvent): void;
  /** Sets the last event id, before the event that it belongs to; also without an event. */
  onId?(id: string): void;
  /** Delay before a reconnect, in ms. */
  onRetry?(ms: number): void;
}

/**
 * Parses an event stream by the HTML standard ("Interpreting an event stream"), piece by piece. An event that the
 * stream does not end with a blank line is not emitted.
 */
export function createEventParser({ onEvent, onId, onRetry }: EventParserListener) {
  /** The start of a line whose end has not arrived. */
  let rest = '';
  /** The last piece ended with CR: an LF at the start of the next one belongs to that line end. */
  let endedWithCr = false;
  let event = '';
  let data: string[] = [];
  let id: string | undefined;
  let replayed = false;

  const endEvent = (): void => {
    const ended = { event: event || 'message', data: data.join('\n'), replayed };
    const hasData = data.length > 0;
    event = '';
    data = [];
    replayed = false;
    if (id !== undefined) onId?.(id);
    id = undefined;
    if (hasData) onEvent(ended);
  };

  const parseLine = (line: string): void => {
    if (line === '') return endEvent();
    const [, field, value = ''] = LINE.exec(line) ?? [];
    if (field === 'data') data.push(value);
    else if (field === 'event') event = value;
    // The standard ignores ids with NULL, because headers cannot carry them.
    else if (field === 'id' && !value.includes('\0')) id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) onRetry?.(Number(value));
    else if (line === REPLAYED_COMMENT) replayed = true;
  };

  /** `text`: decoded UTF-8, without a byte order mark. */
  return (text: string): void => {
    if (endedWithCr && text[0] === '\n') text = text.slice(1);
    else if (text === '') return;
    endedWithCr = text.at(-1) === '\r';
    // Only the new piece is searched for line ends: a long line in many pieces costs no quadratic time.
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = rest + lines[0];
    rest = lines.pop() as string;
    for (const line of lines) parseLine(line);
  };
}
