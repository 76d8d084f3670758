// @ts-check
// The page of the chat: http://…/?user=ann says who you are.

const query = new URLSearchParams(location.search);
const user = query.get('user') ?? `guest-${Math.floor(Math.random() * 1_000)}`;
const here = new Map();

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

let lastEventId = '';
connect();

function connect() {
  const about = new URLSearchParams({ user, lastEventId });
  const events = new EventSource(`/events?${about}`);

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
  on('$ready', () => say(`You are ${user}.`));
  on('$discontinuity', ({ recovered }) => recovered || show('… some messages may be missing here …'));
  on('$members', ({ reset, members }) => {
    if (reset) here.clear();
    for (const { user, sockets } of members) sockets > 0 ? here.set(user, sockets) : here.delete(user);
    element('members').textContent = [...here.keys()].join(', ');
  });
  // EventSource would come back even so.
  on('$close', ({ again, reason }) => {
    if (again) return;
    events.close();
    say(`You were sent away. ${reason}`);
  });

  events.onerror = () => {
    say('Connecting …');
    // After an answer other than 200, a proxy's 502 say, EventSource gives up.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 2_000 + 3_000 * Math.random());
  };
}

/** @param {string} text */
function say(text) {
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
  // What could not be sent stays in the field.
  if (sent?.ok) form.reset();
  else say('That could not be sent.');
});
