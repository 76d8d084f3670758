// Where it begins: who you are, and the one connection everything else uses. `connect` keeps it: when it breaks,
// it asks for a node again, comes back, joins the rooms again and gets what was missed. Nothing here has to
// know how.

import { connect } from '/rollcall/client.js';
import { Backstage } from './backstage.js';
import { Bell } from './bell.js';
import { Chat } from './chat.js';
import { $, element, face, post } from './dom.js';

const backstage = new Backstage();

async function enter(name, node) {
  // Refused names are told in the form, so the first ticket is fetched before there is a client.
  let ticket = await post('/connect', { name, node });
  const client = connect({
    // Called for every attempt: a fresh ticket, for a node that lives.
    async url() {
      ticket ??= await post('/connect', { name, node });
      const { url } = ticket;
      backstage.heads(ticket.node);
      ticket = undefined;
      return url;
    },
    // Slower than the default, so that there is something to see, and to miss.
    backoff: { first: 2_000, max: 4_000 },
    timeout: 20_000,
  });

  sessionStorage.setItem('who', JSON.stringify({ name, node }));
  $('self').replaceChildren(face(name), element('b', { className: 'wide' }, name));
  backstage.follow(client);
  new Chat(client, name, backstage);
  new Bell(client);

  $('status').addEventListener('change', () => client.setStatus($('status').value));
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
    $('refusal').textContent = error.message;
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

// A reload is no new beginning; another tab is, and may be somebody else.
const NAMES = ['ada', 'alan', 'barbara', 'dennis', 'edsger', 'frances', 'grace', 'ken', 'margaret', 'radia'];
const before = JSON.parse(sessionStorage.getItem('who') ?? 'null');
$('name').value = before?.name ?? NAMES[Math.floor(Math.random() * NAMES.length)];
$('name').select();
if (before !== null) void tryToEnter(before.name, before.node);
