// @ts-check
// The page of the chat. The user's name comes from the URL: /?user=ann.

const query = new URLSearchParams(location.search);
const user = query.get('user') ?? `guest-${Math.floor(Math.random() * 1_000)}`;
const members = new Map();

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

let lastEventId = '';
connect();

function connect() {
  const parameters = new URLSearchParams({ user, lastEventId });
  const events = new EventSource(`/events?${parameters}`);

  /**
   * @param {string} name
   * @param {(data: any) => void} handler
   */
  const on = (name, handler) =>
    events.addEventListener(name, (event) => {
      lastEventId = event.lastEventId;
      handler(JSON.parse(event.data));
    });

  on('message', ({ from, data }) => show(`${from}: ${data.text}`));
  on('$ready', () => showState(`You are ${user}.`));
  on('$discontinuity', ({ recovered }) => recovered || show('… some messages may be missing here …'));
  on('$members', ({ reset, members: changed }) => {
    if (reset) members.clear();
    for (const { user, sockets } of changed) sockets > 0 ? members.set(user, sockets) : members.delete(user);
    element('members').textContent = [...members.keys()].join(', ');
  });
  // EventSource would reconnect in any case, so close it if the code is final.
  on('$close', ({ again, reason }) => {
    if (again) return;
    events.close();
    showState(`Disconnected. ${reason}`);
  });

  events.onerror = () => {
    showState('Connecting …');
    // EventSource does not reconnect after a response other than 200, such as a proxy's 502.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2_000 + 3_000 * Math.random());
  };
}

/** @param {string} text */
function showState(text) {
  element('state').textContent = text;
}

/** @param {string} text */
function show(text) {
  const item = document.createElement('li');
  item.textContent = text;
  element('messages').append(item);
}

const form = /** @type {HTMLFormElement} */ (document.querySelector('form'));
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = String(new FormData(form).get('text'));
  const headers = { 'content-type': 'application/json' };
  const sent = await fetch('/messages', {
    method: 'POST',
    headers,
    body: JSON.stringify({ user, text }),
  }).catch(() => undefined);
  // A message that could not be sent stays in the field.
  if (sent?.ok) form.reset();
  else showState('The message could not be sent.');
});
