// rollcall's telemetry events as OpenTelemetry spans. An event is emitted when the operation has ended, so the
// span is created with the event's own times. The span of a publish is a child of the caller's span. All other
// operations may serve several callers, so their spans are roots.
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import { onTelemetry } from 'rollcall';

const TIMED = {
  'rollcall:publish': ['publish', SpanKind.PRODUCER],
  'rollcall:subscribe': ['subscribe', SpanKind.CLIENT],
  'rollcall:recovery': ['recover', SpanKind.CONSUMER],
  'rollcall:presence-update': ['update presence', SpanKind.CLIENT],
  'rollcall:reap': ['reap', SpanKind.INTERNAL],
};

/** Creates spans with `tracer` until the returned function is called. */
export function traceRollcall(tracer) {
  const stops = Object.entries(TIMED).map(([event, [name, kind]]) =>
    onTelemetry(event, ({ startedAt, duration, error, ...details }) => {
      const parent = event === 'rollcall:publish' ? context.active() : ROOT_CONTEXT;
      const options = { kind, startTime: startedAt, attributes: toAttributes(details) };
      const span = tracer.startSpan(name, options, parent);
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

function toAttributes({ channel, channels, ...counts }) {
  const destination = channel ?? channels?.join(' ');
  const attributes = Object.entries(counts).map(([key, value]) => [`rollcall.${key}`, value]);
  return {
    'messaging.system': 'redis',
    ...(destination === undefined ? {} : { 'messaging.destination.name': destination }),
    ...Object.fromEntries(attributes),
  };
}
