// @ts-check
// One contender in a process of its own, told by bench/run.js what to do: heaps and JITs must not mix.

/** @type {Record<string, () => Promise<{ default: Record<string, (setting: any) => Promise<any>> }>>} */
const subjects = {
  heap: () => import('./subjects/heap.js'),
  lookup: () => import('./subjects/lookup.js'),
  node: () => import('./subjects/node.js'),
  presence: () => import('./subjects/presence.js'),
  publish: () => import('./subjects/publish.js'),
  receive: () => import('./subjects/receive.js'),
  scale: () => import('./subjects/scale.js'),
  subscribe: () => import('./subjects/subscribe.js'),
};

/** @param {object} message */
const tell = (message) => process.send?.(message);

/** @type {any} */
let subject;

/**
 * @param {any} order
 * @returns {Promise<object>}
 */
async function carryOut(order) {
  if (order.do === 'start') {
    const make = (await subjects[order.subject]?.())?.default[order.contender];
    if (make === undefined) throw new Error(`no contender ${order.contender} of ${order.subject}`);
    subject = await make(order.setting);
    return {};
  }
  if (order.do === 'call') return { facts: await subject[order.method]?.(order.argument) };
  const before = process.cpuUsage();
  const facts = await subject.round(order.count, () => tell({ type: 'armed' }));
  const { user, system } = process.cpuUsage(before);
  // `after` checks the outcome with commands of its own; compare.js calls it once Redis's CPU time is read.
  return { cpu: user + system, facts };
}

process.on('message', (order) => {
  carryOut(order).then(
    (result) => tell({ type: 'done', ...result }),
    (error) => tell({ type: 'failed', message: String(error?.stack ?? error) }),
  );
});
process.on('disconnect', () => process.exit());
