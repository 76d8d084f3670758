// @ts-check
// One competitor in a process of its own, controlled by bench/run.js: competitors must not share a heap or JIT-compiled code.

/** @type {Record<string, () => Promise<{ default: Record<string, (setting: any) => Promise<any>> }>>} */
const comparisons = {
  blocks: () => import('./comparisons/blocks.js'),
  heap: () => import('./comparisons/heap.js'),
  lookup: () => import('./comparisons/lookup.js'),
  node: () => import('./comparisons/node.js'),
  notify: () => import('./comparisons/notify.js'),
  presence: () => import('./comparisons/presence.js'),
  publish: () => import('./comparisons/publish.js'),
  receive: () => import('./comparisons/receive.js'),
  scale: () => import('./comparisons/scale.js'),
  subscribe: () => import('./comparisons/subscribe.js'),
  watch: () => import('./comparisons/watch.js'),
};

/** @param {object} message */
const send = (message) => process.send?.(message);

/** @type {any} */
let runner;

/**
 * @param {any} request
 * @returns {Promise<object>}
 */
async function handle(request) {
  if (request.do === 'start') {
    const make = (await comparisons[request.comparison]?.())?.default[request.competitor];
    if (make === undefined) throw new Error(`no competitor ${request.competitor} of ${request.comparison}`);
    runner = await make(request.setting);
    return {};
  }
  if (request.do === 'call') return { facts: await runner[request.method]?.(request.argument) };
  const before = process.cpuUsage();
  const facts = await runner.round(request.count, () => send({ type: 'ready' }));
  const { user, system } = process.cpuUsage(before);
  // `after` checks the outcome with commands of its own; compare.js calls it when it has read Redis's CPU time.
  return { cpu: user + system, facts };
}

process.on('message', (request) => {
  handle(request).then(
    (result) => send({ type: 'done', ...result }),
    (error) => send({ type: 'failed', message: String(error?.stack ?? error) }),
  );
});
process.on('disconnect', () => process.exit());
