// The entry form, and the one connection that everything else uses. After a break the client asks for a node,
// reconnects, joins its rooms and receives the messages it missed, without code here.

import { connect } from '/rollcall/client.js';
import { Backstage } from './backstage.js';
import { Bell } from './bell.js';
import { Chat } from './chat.js';
import { $, element, face, post } from './dom.js';

const backstage = new Backstage();

async function enter(name, node) {
  // The first ticket is fetched before the client exists, so that the form can show a rejected name.
  let ticket = await post('/connect', { name, node });
  const client = connect({
    // Called for each attempt: gets a new ticket for a running node.
    async url() {
      ticket ??= await post('/connect', { name, node });
      const { url } = ticket;
      backstage.setNode(ticket.node);
      ticket = undefined;
      return url;
    },
    // The front forwards WebSockets only, so the client must not try HTTP.
    WebSocket,
    // Slower than the default, so that a break is visible and misses messages.
    backoff: { first: 2_000, max: 4_000 },
    timeout: 20_000,
  });

  sessionStorage.setItem('who', JSON.stringify({ name, node }));
  $('self').replaceChildren(face(name), element('b', { className: 'wide' }, name));
  backstage.follow(client);
  new Bell(client, new Chat(client, name, backstage));

  $('leave').addEventListener('click', () => {
    sessionStorage.clear();
    client.close();
    location.reload();
  });
  $('entry').hidden = true;
  $('app').hidden = false;
  $('text').focus();
}

async function tryToEnter(name, node) {
  const button = $('enter').querySelector('button');
  button.disabled = true;
  try {
    await enter(name, node);
  } catch (error) {
    $('problem').textContent = error.message;
    button.disabled = false;
    $('name').focus();
  }
}

$('enter').addEventListener('submit', (event) => {
  event.preventDefault();
  void tryToEnter($('name').value.trim(), $('node').value);
});

for (const tab of $('tabs').children) {
  tab.addEventListener('click', () => {
    document.body.dataset.view = tab.value;
    for (const each of $('tabs').children) each.ariaPressed = String(each === tab);
    document.dispatchEvent(new Event('viewchange'));
  });
}

// A reload enters under the same name; another tab may use another name.
const NAMES = ['ada', 'alan', 'barbara', 'dennis', 'edsger', 'frances', 'grace', 'ken', 'margaret', 'radia'];
const before = JSON.parse(sessionStorage.getItem('who') ?? 'null');
$('name').value = before?.name ?? NAMES[Math.floor(Math.random() * NAMES.length)];
$('name').select();
if (before !== null) void tryToEnter(before.name, before.node);
