// The backstage panel: the nodes and buttons that break them, the timeline of this connection, and the dashboard.
import { useEffect, useState } from 'react';
import { useConnection, useRollcall } from 'rollcall/react';
import { Chart, increases, levels, rates } from './chart.jsx';
import { Button, clock, command, Dot, note, plural, post, SecondTab, toast, useTimeline } from './shared.jsx';

const FREEZE = 5_000;
/** Time in ms without a sample after which Redis counts as away; it brings one every second. */
const SILENCE = 3_500;

/** @param samples what each process published in the last minute, oldest first */
export function Backstage({ samples, front = { nodes: [] } }) {
  return (
    <section id="backstage" className="column" aria-labelledby="backstage-title">
      <h2 id="backstage-title">Backstage</h2>
      <section className="card" aria-labelledby="break-title">
        <h3 id="break-title">Break something</h3>
        <ul id="nodes">
          {front.nodes.map(({ name, up }) => (
            <Node key={name} name={name} up={up} sample={samples.findLast(({ source }) => source === name)} />
          ))}
        </ul>
        <Faults front={front} />
      </section>
      <section className="card column" id="history" aria-labelledby="timeline-title">
        <h3 id="timeline-title">What my connection went through</h3>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard. */}
        <ol id="timeline" aria-labelledby="timeline-title" tabIndex={0}>
          {useTimeline().map(({ key, at, kind, text }) => (
            <li key={key} data-status={kind}>
              <Dot /> <time className="quiet">{clock(at, 'medium')}</time> {text}
            </li>
          ))}
        </ol>
      </section>
      <section className="card" aria-labelledby="dashboard-title">
        <h3 id="dashboard-title">The last minute</h3>
        <Charts samples={samples} front={front} />
        <p className="quiet">
          Streamed to this page as server-sent events. The nodes share one {front.redis}.
        </p>
      </section>
    </section>
  );
}

function Node({ name, up, sample }) {
  const button = (action, text, className) => (
    <Button
      aria-label={`${text} ${name}`}
      className={className}
      onClick={() => command(`/nodes/${name}/${action}`)}
    >
      {text}
    </Button>
  );
  return (
    <li className="row" data-status={up ? 'online' : 'offline'}>
      <Dot />
      <span className="name">
        <b>{name}</b>
        <small>{up ? plural(sample?.sockets ?? 0, 'connection') : 'down'}</small>
      </span>
      {up && button('restart', 'Restart')}
      {/* One element, so that it keeps the focus when it was pressed. */}
      {up ? button('kill', 'Kill', 'danger') : button('start', 'Start')}
    </li>
  );
}

function Faults({ front: { freeze, lease } }) {
  const client = useRollcall();
  const [isFrozen, setIsFrozen] = useState(false);
  const title = `${freeze} for ${FREEZE / 1_000} s`;

  async function freezeRedis() {
    setIsFrozen(true);
    setTimeout(setIsFrozen, FREEZE, false);
    try {
      await post('/redis/freeze', { ms: FREEZE });
      note('bad', `${title}: messages wait, and no user goes offline`);
      setTimeout(note, FREEZE, 'good', 'Redis can be reached again');
    } catch (error) {
      toast(error.message);
    }
  }

  return (
    <>
      <div className="row wrap">
        <Button id="drop" onClick={() => client.reconnect()}>
          Drop my connection
        </Button>
        {freeze && (
          <Button disabled={isFrozen} onClick={freezeRedis}>
            {title}
          </Button>
        )}
      </div>
      <p className="quiet">
        A killed node cannot sign off: its users go offline when its lease of {lease / 1_000} s has expired.{' '}
        {freeze === null && 'To freeze a real Redis, start the demo with npm start -- --real. '}
        <SecondTab>Open another tab</SecondTab>
      </p>
    </>
  );
}

function Charts({ samples, front }) {
  const now = Math.max(...samples.map(({ at }) => at));
  const byNode = Object.groupBy(samples, ({ source }) => source);
  const perNode = (read, field) =>
    Object.fromEntries(front.nodes.map(({ name }) => [name, read(byNode[name] ?? [], field)]));
  const totals = ['reconnects', 'recovered', 'lost'].map((field) => [field, increases(samples, field)]);
  return (
    <div id="charts">
      <Chart title="Online users" total={front.online} now={now} lines={perNode(levels, 'users')} />
      <Chart title="Connects per second" now={now} lines={perNode(rates, 'connects')} />
      <Chart title="Messages per second" now={now} lines={perNode(rates, 'messages')} />
      <Chart title="Reconnects and gaps" now={now} lines={Object.fromEntries(totals)} bars />
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

  const isDown = state !== 'open' && state !== 'closed' && front?.nodes.every(({ up }) => !up);
  let fault = 'Reconnecting. Your messages wait here until then.';
  if (isDown) fault = 'Both servers are down. Your messages wait here, and are sent when one is back.';
  if (state === 'closed') fault = 'Disconnected. Reload the page to come back.';
  if (state === 'open')
    fault = isSilent && 'Redis does not answer. Your messages wait here, and nobody goes offline.';
  return (
    <div id="fault" role="status" className="row wrap bar">
      {fault && <span>{fault}</span>}
      {isDown && <Button onClick={() => command('/nodes/node-1/start')}>Start a server</Button>}
    </div>
  );
}
