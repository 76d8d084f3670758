// @ts-check
import { createChaosDriver, createEmbeddedRedis, driverConformanceCases } from 'rollcall/testing';
import { describe, test } from 'vitest';

/**
 * Creates a new driver for each case, on a Redis that the suite may write to. Replace the chaos driver with your
 * own driver.
 *
 * @returns {Promise<import('rollcall/testing').DriverUnderTest>}
 */
async function make() {
  const redis = await createEmbeddedRedis();
  const driver = createChaosDriver(redis.client);
  return {
    driver,
    // On a real server, send CLIENT KILL TYPE pubsub and CLIENT KILL TYPE normal from another client.
    breakConnections: async () => {
      driver.cut();
      setTimeout(() => driver.restore(), 10);
    },
    // On a real server, add flushScripts, which sends SCRIPT FLUSH. The embedded Redis stores no scripts.
    dispose: () => redis.close(),
  };
}

const { driver, dispose } = await make();
const { capabilities } = driver;
await dispose();

/** Cases that need a capability which the driver does not declare are left out. */
const cases = driverConformanceCases.filter(
  ({ requires }) => requires === undefined || capabilities[requires],
);

describe('my driver', () => {
  test.each(cases)('$name', (driverCase) => driverCase.run(make));
});
