import { connect } from '/client.min.js';

/** @param {string} id */
const element = (id) => document.getElementById(id);

const client = connect({ url: '/ws' });
const show = (text) => {
  element('state').textContent = text;
};
client.on('open', ({ user }) => show(`connected as ${user}`));
client.on('reconnecting', () => show('connecting again'));
client.on('closed', ({ code }) => show(code === 4401 ? 'sign in first' : `closed (${code})`));

const room = client.join('lobby', { last: 50, members: true });
room.on('message', ({ text }, { from }) => {
  const item = document.createElement('li');
  item.textContent = `${from}: ${text}`;
  element('messages').append(item);
});
room.onMembers((members) => {
  element('members').textContent = [...members.keys()].join(', ') || 'nobody';
});
room.onDiscontinuity(({ recovered }) => {
  if (!recovered) show('older messages are missing');
});

element('write').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { text } = event.target.elements;
  try {
    await room.send('message', { text: text.value });
    text.value = '';
  } catch (error) {
    show(`not sent: ${error.message}`);
  }
});
