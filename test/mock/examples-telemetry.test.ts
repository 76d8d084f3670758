import { AsyncLocalStorage } from 'node:async_hooks';
import { type Context, context, ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { Registry } from 'prom-client';
import { createRollcall, onTelemetry } from 'rollcall';
import { createChaosDriver, createEmbeddedRedis } from 'rollcall/testing';
import { afterEach, expect, test } from 'vitest';
// @ts-expect-error the recipes are plain JavaScript
import { collectMetrics } from '../../examples/telemetry/metrics.js';
// @ts-expect-error the recipes are plain JavaScript
import { traceRollcall } from '../../examples/telemetry/spans.js';
import { waitFor } from '../support/wait.js';

// The recipes of docs/telemetry.md, run with some traffic.

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** Publishes messages, one of which fails, causes a gap with history, and writes presence. */
async function something(): Promise<void> {
  const redis = await createEmbeddedRedis();
  stops.push(() => redis.close());
  const driver = createChaosDriver(redis.client);
  const rollcall = createRollcall({ redis: driver, pubsub: { timeout: 300 } });
  const other = createRollcall({ redis: await redis.connect() });
  stops.push(() => other.close());
  stops.push(() => rollcall.close());

  const got: unknown[] = [];
  const history = { size: 10, ttl: 60_000 };
  await rollcall.pubsub.subscribe('room', (message) => got.push(message), { since: 'latest' });
  await other.pubsub.publish('room', 'secret 1', { history });
  driver.cut();
  await other.pubsub.publish('room', 'secret 2', { history });
  driver.restore();
  await waitFor(() => got.length === 2);
  driver.failNext('reply-lost');
  await expect(rollcall.pubsub.publish('room', 'secret 3')).rejects.toThrow();
  await rollcall.presence.setPresence('ann', 's1');
}

test('events become Prometheus metrics', async () => {
  const registry = new Registry();
  stops.push(collectMetrics(registry));
  await something();
  const text = await registry.metrics();
  expect(text).toContain('rollcall_publish_seconds_count{outcome="ok"} 2');
  expect(text).toContain('rollcall_publish_seconds_count{outcome="ERR_CONNECTION"} 1');
  expect(text).toMatch(/rollcall_delivered_total\{kind="channel"\} [2-9]/);
  expect(text).toContain('rollcall_discontinuities_total{reason="reconnected",recovered="true"} 1');
  expect(text).toMatch(/rollcall_presence_update_seconds_count\{outcome="ok"\} [1-9]/);
  expect(text).toMatch(/rollcall_recovery_seconds_count\{outcome="ok"\} [1-9]/);
});

test('errors in events have no cause, because clients attach the command to it', async () => {
  const errors: unknown[] = [];
  stops.push(onTelemetry('rollcall:publish', ({ error }) => error && errors.push(error)));
  await something();
  expect(errors).toMatchObject([{ name: 'ConnectionError', code: 'ERR_CONNECTION' }]);
  expect((errors[0] as Error).cause).toBeUndefined();
});

test('events become OpenTelemetry spans without payloads', async () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  stops.push(traceRollcall(provider.getTracer('test')));
  await something();
  const spans = exporter.getFinishedSpans();
  const published = spans.filter(({ name }) => name === 'publish');
  expect(published).toHaveLength(3);
  expect(published[0]).toMatchObject({
    kind: SpanKind.PRODUCER,
    attributes: { 'messaging.destination.name': 'room', 'rollcall.size': 10, 'rollcall.history': true },
  });
  expect(published[2]?.events[0]?.name).toBe('exception');
  expect(new Set(spans.map(({ name }) => name))).toEqual(
    new Set(['publish', 'subscribe', 'recover', 'update presence']),
  );
  for (const { startTime, endTime } of spans) {
    expect(endTime[0] * 1e9 + endTime[1]).toBeGreaterThanOrEqual(startTime[0] * 1e9 + startTime[1]);
  }
  expect(JSON.stringify(spans.map(({ attributes }) => attributes))).not.toContain('secret');
});

test('the span of a publish is a child of the span of its caller, and all others are roots', async () => {
  const stores = new AsyncLocalStorage<Context>();
  context.setGlobalContextManager({
    active: () => stores.getStore() ?? ROOT_CONTEXT,
    with: (active, call, self, ...args) => stores.run(active, () => call.apply(self, args)),
    bind: (_, target) => target,
    enable() {
      return this;
    },
    disable() {
      return this;
    },
  });
  stops.push(() => context.disable());
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const tracer = provider.getTracer('test');
  stops.push(traceRollcall(tracer));
  const redis = await createEmbeddedRedis();
  stops.push(() => redis.close());
  const { pubsub, presence, close } = createRollcall({ redis: redis.client });
  stops.push(() => close());
  const request = (name: string) => {
    const span = tracer.startSpan(name);
    return context.with(trace.setSpan(ROOT_CONTEXT, span), async () => {
      await Promise.all([
        pubsub.publish(name, 1),
        pubsub.subscribe(`${name} too`, () => {}),
        presence.setPresence(name, 's1'),
      ]);
      return span.spanContext().spanId;
    });
  };
  const [ann, bob] = await Promise.all(['ann', 'bob'].map(request));
  const parents = exporter.getFinishedSpans().map(({ name, attributes, parentSpanContext }) => {
    const subject = name === 'publish' ? ` ${attributes['messaging.destination.name']}` : '';
    return [name + subject, parentSpanContext?.spanId];
  });
  const roots = parents.filter(([name]) => name !== 'publish ann' && name !== 'publish bob');
  expect(parents).toContainEqual(['publish ann', ann]);
  expect(parents).toContainEqual(['publish bob', bob]);
  expect(new Set(roots.map(([name]) => name))).toEqual(new Set(['subscribe', 'update presence']));
  expect(roots.filter(([, parent]) => parent !== undefined)).toEqual([]);
});
