// Behind the scenes: the nodes and how to break them, what this connection went through, and the dashboard.
import { Chart } from './chart.js';
import { $, clock, dot, element, keyed, plural, post, setText, toast } from './dom.js';

const FREEZE = 5_000;
const MAX_TOLD = 30;

export class Backstage {
  #charts;
  #onRooms = () => {};
  #node = '';
  #brokenAt;

  constructor() {
    const nodes = [
      { source: 'node-1', label: 'node-1' },
      { source: 'node-2', label: 'node-2' },
    ];
    this.#charts = [
      new Chart('Online users', nodes, 'users'),
      new Chart('Connects per second', nodes, 'connects', { rate: true }),
      new Chart('Messages per second', nodes, 'delivered', { rate: true }),
      new Chart(
        'Returns and gaps',
        [
          { label: 'returns', total: 'returns' },
          { label: 'filled', total: 'madeUp' },
          { label: 'left open', total: 'lost' },
        ],
        undefined,
        { bars: true },
      ),
    ];
    $('charts').append(...this.#charts.map(({ root }) => root));
    // EventSource comes back by itself, and says where it was: no second is missing from the plots.
    new EventSource('/events').addEventListener('stats', ({ data }) => this.#take(JSON.parse(data)));
    $('freeze').addEventListener('click', () => this.#freeze());
  }

  onRooms(handler) {
    this.#onRooms = handler;
  }

  /** The next connection goes there. */
  heads(node) {
    this.#node = node;
  }

  /** Shows what becomes of the client's connection. */
  follow(client) {
    client.on('open', ({ again }) => {
      const after = again ? ` after ${seconds(Date.now() - this.#brokenAt)}` : '';
      this.#brokenAt = undefined;
      this.tell('good', again ? `Back, on ${this.#node}${after}` : `Connected to ${this.#node}`);
    });
    client.on('reconnecting', ({ attempt, delay, code, reason }) => {
      const why = reason ? `${code}, ${reason}` : code;
      if (this.#brokenAt === undefined) this.tell('bad', `Connection to ${this.#node} lost (${why})`);
      this.#brokenAt ??= Date.now();
      this.tell('wait', `Attempt ${attempt} to come back in ${Math.round(delay)} ms`);
    });
    client.on('closed', ({ code, reason }) => this.tell('bad', `Closed for good (${code} ${reason})`));
    client.on('discontinuity', ({ recovered }) => {
      if (!recovered) this.tell('bad', 'What was sent to you alone may be missing');
    });
    client.on('state', (state) => this.#showState(state));
    $('drop').addEventListener('click', () => client.reconnect());
    this.#showState(client.state);
  }

  /** @param kind good, bad or wait */
  tell(kind, text) {
    const item = element('li', { className: kind }, element('time', {}, clock(Date.now(), true)), ' ', text);
    $('timeline').prepend(item);
    while ($('timeline').children.length > MAX_TOLD) $('timeline').lastElementChild.remove();
  }

  #showState(state) {
    const pill = $('connection');
    pill.dataset.state = state;
    const text = { open: this.#node, closed: 'disconnected' }[state] ?? 'reconnecting …';
    setText(pill, text);
  }

  #take(sample) {
    if (sample.source !== 'front') {
      for (const chart of this.#charts) chart.take(sample);
      const { source, sockets } = sample;
      const what = $('nodes').querySelector(`[data-key="${source}"][data-status=online] small`);
      if (what) setText(what, plural(sockets, 'connection'));
      return;
    }
    this.#onRooms(sample.rooms);
    this.#charts[0].heading(`${sample.online}`);
    for (const node of sample.nodes) this.#showNode(node);
    setText($('runs-on'), `The nodes share one ${sample.redis}.`);
    $('freeze').hidden = sample.freeze === null;
    setText($('freeze'), `${sample.freeze} for ${FREEZE / 1_000} s`);
    const lease = `A killed node says no goodbye: its lease of ${sample.lease / 1_000} s has to run out.`;
    const hint = `${lease} To freeze a Redis, start the demo with npm start -- --real.`;
    setText($('freeze-hint'), sample.freeze === null ? hint : lease);
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
    // The keyboard stays where it was, though what it was on has gone.
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
      this.tell('bad', `${textContent}: what you write now waits, and nobody goes offline`);
      setTimeout(() => this.tell('good', 'Redis can be reached again'), FREEZE);
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
