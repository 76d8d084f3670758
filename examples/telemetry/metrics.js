// rollcall's telemetry events as Prometheus metrics. Channel names are not labels: there is a channel for every
// room, and Prometheus keeps a series for every label value.
import { Counter, Histogram } from 'prom-client';
import { onTelemetry } from 'rollcall';

const SECONDS = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5];

/** Registers the metrics and updates them until the returned function is called. */
export function collectMetrics(registry) {
  const registers = [registry];
  const counter = (name, help, labelNames = []) => new Counter({ name, help, labelNames, registers });
  const histogram = (name, help) =>
    new Histogram({ name, help, labelNames: ['outcome'], buckets: SECONDS, registers });

  const published = histogram('rollcall_publish_seconds', 'Calls of publish');
  const presenceUpdated = histogram('rollcall_presence_update_seconds', 'Presence transactions');
  const recovered = histogram('rollcall_recovery_seconds', 'Recoveries from history');
  const delivered = counter('rollcall_delivered_total', 'Messages delivered to handlers', ['kind']);
  const gaps = counter('rollcall_discontinuities_total', 'Gaps', ['reason', 'recovered']);
  const reaped = counter('rollcall_reaped_sockets_total', 'Sockets of dead processes removed');

  const time =
    (timer) =>
    ({ duration, error }) =>
      timer.observe({ outcome: error?.code ?? 'ok' }, duration / 1_000);
  const stops = [
    onTelemetry('rollcall:publish', time(published)),
    onTelemetry('rollcall:presence-update', time(presenceUpdated)),
    onTelemetry('rollcall:recovery', time(recovered)),
    onTelemetry('rollcall:deliver', ({ kind }) => delivered.inc({ kind })),
    onTelemetry('rollcall:discontinuity', ({ reason, recovered }) =>
      gaps.inc({ reason, recovered: String(recovered) }),
    ),
    onTelemetry('rollcall:reap', ({ sockets }) => reaped.inc(sockets)),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
