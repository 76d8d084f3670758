// The backstage panel: the nodes and buttons that break them, the timeline of this connection, and the dashboard.
import { Chart } from './chart.js';
import { $, clock, dot, element, keyed, plural, post, setText, toast } from './dom.js';

const FREEZE = 5_000;
const MAX_ENTRIES = 30;
/** Time in ms without a sample after which Redis counts as away; it brings one every second. */
const SILENCE = 3_500;
const BOTH_DOWN = 'Both servers are down. Your messages wait here, and are sent when one is back.';
const RECONNECTING = 'Reconnecting. Your messages wait here until then.';
const REDIS_AWAY = 'Redis does not answer. Your messages wait here, and nobody goes offline.';
/** Why a connection ended, by its close code. */
const CLOSED = {
  1000: 'you left',
  1006: 'the server or the network went away',
  1012: 'the server restarts',
  4401: 'the ticket is not valid',
  4403: 'you were disconnected',
  4500: 'the server cannot reach Redis',
  4501: 'the ticket has expired',
  4508: 'this page read too slowly',
  4529: 'this page sent too much',
};

export class Backstage {
  #charts;
  #onRooms = () => {};
  #node = '';
  #brokenAt;
  #state;
  #down = false;
  #sampleAt = Date.now();

  constructor() {
    const nodes = [
      { source: 'node-1', label: 'node-1' },
      { source: 'node-2', label: 'node-2' },
    ];
    this.#charts = [
      new Chart('Online users', nodes, 'users'),
      new Chart('Connects per second', nodes, 'connects', { rate: true }),
      new Chart('Messages per second', nodes, 'messages', { rate: true }),
      new Chart(
        'Reconnects and gaps',
        [
          { label: 'reconnects', total: 'reconnects' },
          { label: 'recovered', total: 'recovered' },
          { label: 'lost', total: 'lost' },
        ],
        undefined,
        { bars: true },
      ),
    ];
    $('charts').append(...this.#charts.map(({ root }) => root));
    // EventSource reconnects by itself and sends its last event id, so the plots miss no sample.
    const events = new EventSource('/events');
    events.addEventListener('stats', ({ data }) => this.#showSample(JSON.parse(data)));
    setInterval(() => this.#showFault(), 1_000);
    // It scrolls, also by keyboard.
    $('timeline').tabIndex = 0;
    $('freeze').addEventListener('click', () => this.#freeze());
  }

  onRooms(handler) {
    this.#onRooms = handler;
  }

  /** Sets the node of the next connection. */
  setNode(node) {
    this.#node = node;
  }

  /** Adds the events of the client's connection to the timeline. */
  follow(client) {
    client.on('open', ({ reconnected }) => {
      const after = reconnected ? ` after ${seconds(Date.now() - this.#brokenAt)}` : '';
      this.#brokenAt = undefined;
      const text = reconnected ? `Back, on ${this.#node}${after}` : `Connected to ${this.#node}`;
      this.addEntry('good', text);
    });
    client.on('reconnecting', ({ attempt, delay, code, reason }) => {
      const why = CLOSED[code] ?? (reason || 'the server did not say why');
      if (this.#brokenAt === undefined) this.addEntry('bad', `Connection to ${this.#node} lost: ${why}`);
      this.#brokenAt ??= Date.now();
      this.addEntry('wait', `Attempt ${attempt} to reconnect in ${seconds(delay)}`);
    });
    client.on('closed', ({ code, reason }) => {
      this.addEntry('bad', `Disconnected: ${CLOSED[code] ?? (reason || 'the server did not say why')}`);
    });
    client.on('discontinuity', ({ recovered }) => {
      if (!recovered) this.addEntry('bad', 'Messages to you may be missing');
    });
    client.on('state', (state) => this.#showState(state));
    $('drop').addEventListener('click', () => client.reconnect());
    this.#showState(client.state);
  }

  /** @param kind good, bad or wait */
  addEntry(kind, text) {
    const item = element('li', { className: kind }, element('time', {}, clock(Date.now(), true)), ' ', text);
    $('timeline').prepend(item);
    while ($('timeline').children.length > MAX_ENTRIES) $('timeline').lastElementChild.remove();
  }

  #showState(state) {
    this.#state = state;
    this.#showFault();
    const pill = $('connection');
    pill.dataset.state = state;
    const text = { open: this.#node, closed: 'disconnected' }[state] ?? 'reconnecting';
    setText(pill, text);
  }

  #showSample(sample) {
    if (sample.source !== 'front') {
      for (const chart of this.#charts) chart.addSample(sample);
      const { source, sockets } = sample;
      const label = $('nodes').querySelector(`[data-key="${source}"][data-status=online] small`);
      if (label) setText(label, plural(sockets, 'connection'));
      return;
    }
    this.#onRooms(sample.rooms);
    this.#sampleAt = Date.now();
    this.#down = sample.nodes.every(({ up }) => !up);
    this.#showFault();
    this.#charts[0].heading(`${sample.online}`);
    for (const node of sample.nodes) this.#showNode(node);
    setText($('runs-on'), `The nodes share one ${sample.redis}.`);
    $('freeze').hidden = sample.freeze === null;
    setText($('freeze'), `${sample.freeze} for ${FREEZE / 1_000} s`);
    const lease = `A killed node cannot sign off: its users go offline when its lease of ${sample.lease / 1_000} s has expired.`;
    const hint = `${lease} To freeze a real Redis, start the demo with npm start -- --real.`;
    setText($('freeze-hint'), sample.freeze === null ? hint : lease);
  }

  /** Says above the messages what does not work, and what becomes of them. */
  #showFault() {
    if (this.#state === undefined) return;
    const fault = this.#fault();
    if (fault === $('fault').dataset.fault) return;
    $('fault').dataset.fault = fault;
    $('fault').replaceChildren(...(fault ? [element('span', {}, fault)] : []));
    if (fault !== BOTH_DOWN) return;
    const start = element('button', { type: 'button' }, 'Start a server');
    start.addEventListener('click', () => {
      post('/nodes/node-1/start').catch((error) => toast(error.message));
    });
    $('fault').append(start);
  }

  #fault() {
    const silent = Date.now() - this.#sampleAt > SILENCE;
    if (this.#state === 'closed') return 'Disconnected. Reload the page to come back.';
    if (this.#state !== 'open') return this.#down ? BOTH_DOWN : RECONNECTING;
    return silent ? REDIS_AWAY : '';
  }

  #showNode({ name, up }) {
    const item = keyed($('nodes'), name, () => {
      $('node').append(element('option', { value: name }, name));
      return element(
        'li',
        {},
        dot(),
        element('span', { className: 'who' }, element('b', {}, name), element('small')),
        ...['restart', 'kill', 'start'].map((action) => this.#button(name, action)),
      );
    });
    item.dataset.status = up ? 'online' : 'offline';
    if (!up) setText(item.querySelector('small'), 'down');
    const focused = item.contains(document.activeElement);
    for (const button of item.querySelectorAll('button')) button.hidden = (button.value === 'start') === up;
    // Moves the focus from a button that is now hidden to a visible one.
    if (focused && document.activeElement.hidden) item.querySelector('button:not([hidden])').focus();
  }

  #button(name, action) {
    const text = action[0].toUpperCase() + action.slice(1);
    const button = element('button', { type: 'button', value: action, ariaLabel: `${text} ${name}` }, text);
    if (action === 'kill') button.className = 'danger';
    button.addEventListener('click', () => {
      post(`/nodes/${name}/${action}`).catch((error) => toast(error.message));
    });
    return button;
  }

  async #freeze() {
    const { textContent } = $('freeze');
    $('freeze').disabled = true;
    try {
      await post('/redis/freeze', { ms: FREEZE });
      this.addEntry('bad', `${textContent}: messages wait, and no user goes offline`);
      setTimeout(() => this.addEntry('good', 'Redis can be reached again'), FREEZE);
    } catch (error) {
      toast(error.message);
    } finally {
      setTimeout(() => {
        $('freeze').disabled = false;
      }, FREEZE);
    }
  }
}

const seconds = (ms) => `${(ms / 1_000).toFixed(1)} s`;
