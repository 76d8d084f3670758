// @ts-check
// The page keeps one WebSocket. Before you join, and after your node died, it goes to the front and
// only watches; when you join it goes to a node, and says hello there.

/** @param {string} id */
const $ = (id) => /** @type {any} */ (document.getElementById(id));

/** @type {{ name: string, up: boolean }[]} */
let nodes = [];
/** @typedef {{ name: string, status: string, sockets: { node: string, status: string }[] }} User */
/** @type {User[]} */
let users = [];
/** Set once a node said welcome. @type {{ name: string, node: string } | undefined} */
let me;
/** @type {WebSocket} */
let socket;

/**
 * @param {{ node?: string, hello?: string }} [options] without a node: watch only
 */
function connect({ node, hello } = {}) {
  const address = new URL(node ? `ws?node=${encodeURIComponent(node)}` : 'ws', location.href);
  address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const mine = new WebSocket(address);
  const before = socket;
  socket = mine;
  before?.close();
  mine.onopen = () => {
    if (hello !== undefined) say({ type: 'hello', name: hello });
    else void loadNodes();
  };
  mine.onmessage = ({ data }) => {
    if (socket === mine) receive(JSON.parse(data));
  };
  mine.onclose = () => {
    if (socket === mine) lost(node);
  };
}

/**
 * A real page would join again at once, by another node. This one does not, so that you can see
 * what everybody else sees.
 *
 * @param {string | undefined} node
 */
function lost(node) {
  me = undefined;
  showMe();
  if (node === undefined) {
    $('problem').textContent = 'The demo cannot be reached; trying again …';
    setTimeout(connect, 1_000);
  } else {
    $('problem').textContent = `The connection to ${node} is lost. Join again to come back.`;
    connect();
  }
}

/** @param {any} message */
function receive(message) {
  if (message.type === 'users') {
    users = message.users;
    $('count').textContent = message.online;
    showUsers();
  } else if (message.type === 'nodes') {
    nodes = message.nodes;
    showNodes();
  } else if (message.type === 'welcome') {
    me = message;
    $('problem').textContent = '';
    showMe();
  } else if (message.type === 'change') {
    showChange(message);
  } else if (message.type === 'wave') {
    toast(`${message.from} waves`);
  } else if (message.type === 'error') {
    $('problem').textContent = message.message;
    // Refused at the door: back to watching.
    if (me === undefined) connect();
  }
}

/** @param {object} message */
function say(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

async function loadNodes() {
  const response = await fetch('nodes');
  const { lease, grace, redis, ...rest } = await response.json();
  $('redis').textContent = `Running on ${redis}.`;
  $('lease').textContent = `${lease / 1_000} s`;
  $('grace').textContent = `${grace / 1_000} s`;
  if ($('problem').textContent.startsWith('The demo')) $('problem').textContent = '';
  receive({ type: 'nodes', ...rest });
}

// What you do

$('join').addEventListener('submit', async (/** @type {Event} */ event) => {
  event.preventDefault();
  if (nodes.length === 0) await loadNodes();
  const node = chosenNode();
  if (node === undefined) $('problem').textContent = 'No node is running: start one first.';
  else connect({ node, hello: $('name').value });
});

$('status').addEventListener('change', (/** @type {any} */ event) => {
  say({ type: 'status', status: event.target.value });
});
$('wave').addEventListener('click', () => say({ type: 'wave' }));
$('leave').addEventListener('click', () => {
  me = undefined;
  showMe();
  connect();
});

/** The node picked, or else the one with the fewest sockets. */
function chosenNode() {
  const picked = /** @type {any} */ (document.querySelector('[name=node]:checked'))?.value;
  if (picked) return picked;
  const up = nodes.filter((node) => node.up).map((node) => node.name);
  return up.sort((a, b) => socketsOn(a) - socketsOn(b))[0];
}

/** @param {string} node */
function socketsOn(node) {
  return users.flatMap((user) => user.sockets).filter((one) => one.node === node).length;
}

// What you see

function showMe() {
  const focused = $('you').contains(document.activeElement);
  $('join').hidden = me !== undefined;
  $('joined').hidden = me === undefined;
  if (me !== undefined) {
    $('me').replaceChildren('You are ', element('b', {}, me.name), ` on ${me.node}.`);
    $('status').querySelector('input').checked = true;
    document.title = `${me.name} · rollcall demo`;
  }
  // The keyboard stays where it was, though what it was on has gone.
  if (focused) (me === undefined ? $('name') : $('status').querySelector('input')).focus();
  showUsers();
}

function showNodes() {
  for (const { name, up } of nodes) {
    const item = keyed($('nodes'), name, () => {
      const button = element('button', { type: 'button' });
      button.onclick = async () => {
        const { ok } = await fetch(`nodes/${name}/${button.dataset.action}`, { method: 'POST' });
        if (!ok) toast(`${name} did not ${button.dataset.action}`);
      };
      return element('li', {}, dot(), element('b', {}, name), element('span', { className: 'what' }), button);
    });
    const button = item.querySelector('button');
    item.dataset.status = up ? 'online' : 'offline';
    button.dataset.action = up ? 'kill' : 'start';
    button.textContent = up ? 'Kill' : 'Start';
    button.ariaLabel = `${button.textContent} ${name}`;

    const choice = keyed($('node-choice'), name, () =>
      element(
        'label',
        {},
        element('input', { type: 'radio', name: 'node', value: name }),
        ' ',
        element('span', {}, name),
      ),
    );
    const radio = choice.querySelector('input');
    radio.disabled = !up;
    if (!up && radio.checked) /** @type {any} */ (document.querySelector('[name=node]')).checked = true;
  }
  showUsers();
}

function showUsers() {
  const up = new Set(nodes.filter((node) => node.up).map((node) => node.name));
  for (const { name } of nodes) {
    const count = socketsOn(name);
    const what = $('nodes').querySelector(`[data-key="${name}"] .what`);
    if (up.has(name)) setText(what, plural(count, 'socket'));
    else setText(what, count > 0 ? 'killed; its lease runs out' : 'down');
  }

  const list = $('users');
  for (const user of users) {
    const item = keyed(list, user.name, () =>
      element(
        'li',
        {},
        element('span', { className: 'face', ariaHidden: 'true' }, [...user.name][0] ?? ''),
        element('span', { className: 'who' }, element('b', {}, user.name), element('small', {})),
        element('span', { className: 'chips' }),
        element('span', { className: 'status' }, dot(), element('span', {})),
      ),
    );
    item.style.setProperty('--hue', String(hue(user.name)));
    item.dataset.status = user.status;
    setText(item.querySelector('small'), me?.name === user.name ? 'you' : '');
    setText(item.querySelector('.status span:last-child'), user.status);

    const chips = chipsOf(user, up);
    // Written only if changed: what is written to a live region is read aloud.
    const box = item.querySelector('.chips');
    const shown = JSON.stringify(chips);
    if (box.dataset.shown !== shown) {
      box.dataset.shown = shown;
      box.replaceChildren(
        ...chips.map(({ kind, text }) => element('span', { className: `chip ${kind}` }, text)),
      );
    }
  }
  const names = new Set(users.map((user) => user.name));
  for (const item of [...list.children]) if (!names.has(item.dataset.key)) item.remove();
  $('nobody').hidden = users.length > 0;
  $('lookup').hidden = users.length === 0;
  $('lookup').href = `presence?${new URLSearchParams(users.map((user) => ['user', user.name]))}`;
}

/**
 * How many sockets a user has, and on which nodes.
 *
 * @param {User} user
 * @param {Set<string>} up
 */
function chipsOf({ sockets }, up) {
  const chips = [
    { kind: '', text: sockets.length > 0 ? plural(sockets.length, 'socket') : 'gone; within grace' },
  ];
  for (const { name } of nodes) {
    const count = sockets.filter((one) => one.node === name).length;
    const kind = up.has(name) ? 'node' : 'node dead';
    if (count > 0) chips.push({ kind, text: count > 1 ? `${name} × ${count}` : name });
  }
  return chips;
}

/** @param {{ userId: string, previous: string, status: string }} change */
function showChange({ userId, previous, status }) {
  const item = element(
    'li',
    {},
    element('time', {}, new Date().toLocaleTimeString()),
    ' ',
    element('b', {}, userId),
    ` ${previous} → `,
    element('span', { className: 'status' }, status),
  );
  item.dataset.status = status;
  $('changes').prepend(item);
  while ($('changes').children.length > 6) $('changes').lastChild.remove();
}

/** @param {string} text */
function toast(text) {
  const item = element('p', {}, text);
  $('toasts').append(item);
  setTimeout(() => item.remove(), 4_000);
}

// Small tools

/**
 * @param {string} tag
 * @param {object} properties
 * @param {(string | Node)[]} children
 * @returns {any}
 */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const dot = () => element('span', { className: 'dot', ariaHidden: 'true' });

/**
 * The child of `parent` that stands for `key`, made if there is none.
 *
 * @param {Element} parent
 * @param {string} key
 * @param {() => HTMLElement} make
 * @returns {any}
 */
function keyed(parent, key, make) {
  for (const child of /** @type {any} */ (parent.children)) if (child.dataset.key === key) return child;
  const made = make();
  made.dataset.key = key;
  parent.append(made);
  return made;
}

/**
 * @param {Element | null} node
 * @param {string} text
 */
function setText(node, text) {
  if (node !== null && node.textContent !== text) node.textContent = text;
}

/**
 * @param {number} count
 * @param {string} what
 */
const plural = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`;

/** @param {string} name */
function hue(name) {
  let sum = 0;
  for (const char of name) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 360;
  return sum;
}

connect();
