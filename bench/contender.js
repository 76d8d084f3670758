// @ts-check
// One contender in a process of its own, told by bench/run.js what to do: heaps and JITs must not mix.
import lookup from './subjects/lookup.js';
import presence from './subjects/presence.js';
import publish from './subjects/publish.js';
import receive from './subjects/receive.js';

/** @type {Record<string, Record<string, (setting: any) => Promise<any>>>} */
const subjects = { lookup, presence, publish, receive };

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
    const make = subjects[order.subject]?.[order.contender];
    if (make === undefined) throw new Error(`no contender ${order.contender} of ${order.subject}`);
    subject = await make(order.setting);
    return {};
  }
  if (order.do === 'reset') {
    await subject.reset?.();
    return {};
  }
  const before = process.cpuUsage();
  const facts = await subject.round(order.count, () => tell({ type: 'armed' }));
  const { user, system } = process.cpuUsage(before);
  return { cpu: user + system, facts: { ...facts, ...(await subject.after?.()) } };
}

process.on('message', (order) => {
  carryOut(order).then(
    (result) => tell({ type: 'done', ...result }),
    (error) => tell({ type: 'failed', message: String(error?.stack ?? error) }),
  );
});
process.on('disconnect', () => process.exit());
