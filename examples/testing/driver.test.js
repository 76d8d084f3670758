// @ts-check
import { createChaosDriver, createEmbeddedRedis, driverConformanceCases } from 'rollcall/testing';
import { describe, test } from 'vitest';

/**
 * What the suite needs: a new driver for each case, on a Redis it may write to. Here a driver that
 * comes with rollcall stands in for yours.
 *
 * @returns {Promise<import('rollcall/testing').DriverUnderTest>}
 */
async function make() {
  const redis = await createEmbeddedRedis();
  const driver = createChaosDriver(redis.client);
  return {
    driver,
    // On a real server: CLIENT KILL TYPE pubsub and CLIENT KILL TYPE normal, from outside.
    breakConnections: async () => {
      driver.cut();
      setTimeout(() => driver.restore(), 10);
    },
    // On a real server: SCRIPT FLUSH. The embedded Redis keeps no scripts.
    dispose: () => redis.close(),
  };
}

const { driver, dispose } = await make();
const { capabilities } = driver;
await dispose();

/** What a driver says that it cannot do is not asked of it. */
const cases = driverConformanceCases.filter(
  ({ requires }) => requires === undefined || capabilities[requires],
);

describe('my driver', () => {
  test.each(cases)('$name', (driverCase) => driverCase.run(make));
});
