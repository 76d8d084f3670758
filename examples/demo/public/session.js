// The one connection of the page. After a break the client asks for a node, reconnects, joins its rooms and receives
// the messages it missed, without code here.
import { connect } from 'rollcall/client';
import { note, post } from './shared.jsx';

/** The user of this tab before a reload, as `{ name, node }`. */
export const lastUser = JSON.parse(sessionStorage.getItem('user') ?? 'null');

/** Connects to `node`, or to any. @throws {Error} if the name is refused. */
export async function startSession(name, node) {
  const getTicket = () => post('/connect', { name, node });
  // The first ticket is fetched before the client exists, so that the form can show a refused name.
  let ticket = await getTicket();
  const session = { name, node: ticket.node };
  session.client = connect({
    // Called for each attempt: gets a new ticket for a running node.
    async url() {
      const { node, url } = ticket ?? (await getTicket());
      ticket = undefined;
      session.node = node;
      return url;
    },
    // The front forwards WebSockets only, so the client must not try HTTP.
    WebSocket,
    // Slower than the default, so that a break is visible and misses messages.
    backoff: { first: 2_000, max: 4_000 },
    timeout: 20_000,
  });
  noteConnections(session);
  sessionStorage.setItem('user', JSON.stringify({ name, node }));
  return session;
}

export function endSession({ client }) {
  sessionStorage.clear();
  client.close();
  location.reload();
}

/** Adds the events of the connection to the timeline. */
function noteConnections(session) {
  const { client } = session;
  let lostAt;
  const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;
  const because = ({ reason }) => reason || 'the server or the network went away';
  client.on('open', ({ reconnected }) => {
    if (reconnected) note('good', `Back, on ${session.node} after ${seconds(Date.now() - lostAt)}`);
    else note('good', `Connected to ${session.node}`);
    lostAt = undefined;
  });
  client.on('reconnecting', (lost) => {
    if (!lostAt) note('bad', `Connection to ${session.node} lost: ${because(lost)}`);
    lostAt ??= Date.now();
    note('wait', `Attempt ${lost.attempt} to reconnect in ${seconds(lost.delay)}`);
  });
  client.on('closed', (lost) => note('bad', `Disconnected: ${because(lost)}`));
  client.on('discontinuity', ({ recovered }) => !recovered && note('bad', 'Messages to you may be missing'));
}
