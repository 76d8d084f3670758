// rollcall's events as OpenTelemetry spans. An event comes when it is over, so its span is made
// with the times that it carries.
import { SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { onTelemetry } from 'rollcall';

const TIMED = {
  'rollcall:publish': ['publish', SpanKind.PRODUCER],
  'rollcall:subscribe': ['subscribe', SpanKind.CLIENT],
  'rollcall:recovery': ['recover', SpanKind.CONSUMER],
  'rollcall:presence-update': ['settle presence', SpanKind.CLIENT],
  'rollcall:reap': ['reap', SpanKind.INTERNAL],
};

/** Makes spans with `tracer` from now on; the returned function stops that. */
export function traceRollcall(tracer) {
  const stops = Object.entries(TIMED).map(([event, [name, kind]]) =>
    onTelemetry(event, ({ startedAt, duration, error, ...more }) => {
      const span = tracer.startSpan(name, { kind, startTime: startedAt, attributes: attributesOf(more) });
      if (error !== undefined) {
        span.recordException(error);
        span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      }
      span.end(startedAt + duration);
    }),
  );
  return () => {
    for (const stop of stops) stop();
  };
}

function attributesOf({ channel, channels, ...counts }) {
  const destination = channel ?? channels?.join(' ');
  const named = Object.entries(counts).map(([key, value]) => [`rollcall.${key}`, value]);
  return {
    'messaging.system': 'redis',
    ...(destination === undefined ? {} : { 'messaging.destination.name': destination }),
    ...Object.fromEntries(named),
  };
}
