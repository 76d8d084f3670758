import { connect } from '/rollcall/client.min.js';
import { sharedWebSocket } from '/rollcall/shared-worker.min.js';

// Instead of a login.
const user = new URLSearchParams(location.search).get('user') ?? 'ann';

const worker = () => new SharedWorker('/tabs-worker.js', { type: 'module' });
const client = connect({
  url: `/ws?user=${user}`,
  WebSocket: sharedWebSocket(worker, { identity: user }),
});

const find = (selector) => document.querySelector(selector);
client.on('state', (state) => {
  find('#state').textContent = state;
});
const room = client.join('lobby', { last: 50, members: true });
room.onMembers((members) => {
  find('#tabs').textContent = members.get(user)?.sockets ?? 0;
});
room.on('message', (text, { from }) => {
  const item = document.createElement('li');
  item.textContent = `${from ?? 'server'}: ${text}`;
  find('#messages').append(item);
});
find('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = event.target.elements;
  await room.send('message', text.value);
  text.value = '';
});
