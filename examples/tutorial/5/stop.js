// @ts-check

/**
 * Stops a server of step 3 for a deploy. The order matters: clients are told to reconnect while their sockets are still
 * known, and users stay visible until they have.
 *
 * @param {ReturnType<typeof import('../3/server.js').createChat>} chat
 * @param {number} drainPeriod over how many ms the clients reconnect
 */
export async function stop({ server, serving, close }, drainPeriod) {
  await serving.close({ drainPeriod, handoff: true });
  await close({ handoff: true });
  server.close();
}
