// The backstage panel: the nodes and buttons that break them, the timeline of this connection, and the dashboard.
import { useEffect, useState } from 'react';
import { useConnection, useRollcall } from 'rollcall/react';
import { Chart, increases, levels, rates } from './chart.jsx';
import { clock, command, Dot, note, plural, post, SecondTab, toast, useTimeline } from './shared.jsx';

const FREEZE = 5_000;
/** Time in ms without a sample after which Redis counts as away; it brings one every second. */
const SILENCE = 3_500;

/** @param samples what each process published in the last minute, oldest first */
export function Backstage({ samples }) {
  const front = latest(samples, 'front');
  const nodes = front?.nodes ?? [];
  return (
    <section id="backstage" aria-labelledby="backstage-title">
      <h2 id="backstage-title">Backstage</h2>
      <section className="card" aria-labelledby="break-title">
        <h3 id="break-title">Break something</h3>
        <ul id="nodes">
          {nodes.map(({ name, up }) => (
            <Node key={name} name={name} up={up} sockets={latest(samples, name)?.sockets ?? 0} />
          ))}
        </ul>
        {front && <Faults front={front} />}
      </section>
      <Timeline />
      <section className="card" aria-labelledby="dashboard-title">
        <h3 id="dashboard-title">The last minute</h3>
        <Charts samples={samples} nodes={nodes.map(({ name }) => name)} online={front?.online} />
        <p className="hint">
          Streamed to this page as server-sent events. {front && `The nodes share one ${front.redis}.`}
        </p>
      </section>
    </section>
  );
}

export const latest = (samples, source) => samples.findLast((sample) => sample.source === source);

/** The second button stays, so that it keeps the focus when it was pressed. */
const Node = ({ name, up, sockets }) => (
  <li data-status={up ? 'online' : 'offline'}>
    <Dot />
    <span className="who">
      <b>{name}</b>
      <small>{up ? plural(sockets, 'connection') : 'down'}</small>
    </span>
    {up && <NodeButton name={name} action="restart" />}
    <NodeButton key="last" name={name} action={up ? 'kill' : 'start'} />
  </li>
);

function NodeButton({ name, action }) {
  const text = action[0].toUpperCase() + action.slice(1);
  return (
    <button
      type="button"
      className={action === 'kill' ? 'danger' : ''}
      aria-label={`${text} ${name}`}
      onClick={() => command(`/nodes/${name}/${action}`)}
    >
      {text}
    </button>
  );
}

function Faults({ front: { freeze, lease } }) {
  const client = useRollcall();
  const [isFrozen, setIsFrozen] = useState(false);
  const title = `${freeze} for ${FREEZE / 1_000} s`;

  async function freezeRedis() {
    setIsFrozen(true);
    setTimeout(() => setIsFrozen(false), FREEZE);
    try {
      await post('/redis/freeze', { ms: FREEZE });
      note('bad', `${title}: messages wait, and no user goes offline`);
      setTimeout(() => note('good', 'Redis can be reached again'), FREEZE);
    } catch (error) {
      toast(error.message);
    }
  }

  return (
    <>
      <div className="buttons">
        <button type="button" id="drop" onClick={() => client.reconnect()}>
          Drop my connection
        </button>
        {freeze && (
          <button type="button" disabled={isFrozen} onClick={freezeRedis}>
            {title}
          </button>
        )}
      </div>
      <p className="hint">
        A killed node cannot sign off: its users go offline when its lease of {lease / 1_000} s has expired.{' '}
        {!freeze && 'To freeze a real Redis, start the demo with npm start -- --real. '}
        <SecondTab>Open another tab</SecondTab>
      </p>
    </>
  );
}

const Timeline = () => (
  <section className="card" id="history" aria-labelledby="timeline-title">
    <h3 id="timeline-title">What my connection went through</h3>
    {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard. */}
    <ol id="timeline" aria-labelledby="timeline-title" tabIndex={0}>
      {useTimeline().map(({ key, at, kind, text }) => (
        <li key={key} className={kind}>
          <time>{clock(at, { timeStyle: 'medium' })}</time> {text}
        </li>
      ))}
    </ol>
  </section>
);

function Charts({ samples, nodes, online }) {
  const now = Math.max(...samples.map(({ at }) => at));
  const perNode = (read, field) =>
    Object.fromEntries(nodes.map((node) => [node, read(samples, node, field)]));
  const events = Object.fromEntries(
    ['reconnects', 'recovered', 'lost'].map((total) => [total, increases(samples, total)]),
  );
  return (
    <div id="charts">
      <Chart title="Online users" total={online} now={now} series={perNode(levels, 'users')} />
      <Chart title="Connects per second" now={now} series={perNode(rates, 'connects')} />
      <Chart title="Messages per second" now={now} series={perNode(rates, 'messages')} />
      <Chart title="Reconnects and gaps" now={now} series={events} bars />
    </div>
  );
}

/** Says above the messages what does not work, and what becomes of them. */
export function Fault({ front }) {
  const { state } = useConnection();
  const [isSilent, setIsSilent] = useState(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: each sample is another object.
  useEffect(() => {
    setIsSilent(false);
    const timer = setTimeout(setIsSilent, SILENCE, true);
    return () => clearTimeout(timer);
  }, [front]);

  const isDown = front?.nodes.every(({ up }) => !up);
  return (
    <div id="fault" role="status">
      {state === 'closed' && 'Disconnected. Reload the page to come back.'}
      {state === 'open' &&
        isSilent &&
        'Redis does not answer. Your messages wait here, and nobody goes offline.'}
      {(state === 'connecting' || state === 'waiting') &&
        (isDown ? (
          <>
            Both servers are down. Your messages wait here, and are sent when one is back.
            <button type="button" onClick={() => command('/nodes/node-1/start')}>
              Start a server
            </button>
          </>
        ) : (
          'Reconnecting. Your messages wait here until then.'
        ))}
    </div>
  );
}
