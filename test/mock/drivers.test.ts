import { describe, it } from 'vitest';
import { driverFor, type RedisClient } from '../../src/redis/detect.js';
import type { Driver } from '../../src/redis/driver.js';
import { createChaosDriver } from '../../src/testing/chaos-driver.js';
import {
  type DriverCase,
  type DriverUnderTest,
  driverConformanceCases,
} from '../../src/testing/driver-conformance.js';
import { createEmbeddedRedis } from '../../src/testing/embedded.js';

/** The cases for which `driver` has the capability, and those for which it lacks it. */
async function casesFor(driver: (client: RedisClient) => Driver): Promise<[DriverCase[], DriverCase[]]> {
  const embedded = await createEmbeddedRedis();
  const { capabilities } = driver(embedded.client);
  await embedded.close();
  const applies = ({ requires }: DriverCase) => requires === undefined || capabilities[requires];
  return [driverConformanceCases.filter(applies), driverConformanceCases.filter((one) => !applies(one))];
}

const [plain, without] = await casesFor(driverFor);

describe('the driver for the embedded Redis', () => {
  const make = async (): Promise<DriverUnderTest> => {
    const embedded = await createEmbeddedRedis();
    return { driver: driverFor(embedded.client), dispose: () => embedded.close() };
  };
  it.each(plain)('$name', (driverCase) => driverCase.run(make));

  it('fails exactly the cases of the capabilities that it lacks', ({ expect }) => {
    expect([...new Set(without.map(({ requires }) => requires))].sort()).toEqual([
      'binaryScripts',
      'reconnects',
      'scriptsInTransactions',
      'sharded',
      'strict',
    ]);
  });
});

const [chaotic] = await casesFor(createChaosDriver);

describe('the chaos driver', () => {
  const make = async (): Promise<DriverUnderTest> => {
    const embedded = await createEmbeddedRedis();
    const driver = createChaosDriver(embedded.client);
    return {
      driver,
      breakConnections: async () => {
        driver.cut();
        setTimeout(() => driver.restore(), 10);
      },
      dispose: () => embedded.close(),
    };
  };
  it.each(chaotic)('$name', (driverCase) => driverCase.run(make));
});
