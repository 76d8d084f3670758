// The backstage panel: the nodes and buttons that break them, the timeline of this connection, and the dashboard.
import { useState } from 'react';
import { useRollcall } from 'rollcall/react';
import { Chart, level, rate } from './chart.jsx';
import { Button, clock, command, Dot, note, plural, SecondTab, useNotes } from './shared.jsx';

const FREEZE = 5_000;

/** @param samples what each process published in the last minute, oldest first */
export function Backstage({ samples, front = { nodes: [] } }) {
  const byNode = Object.groupBy(samples, ({ source }) => source);
  return (
    <section id="backstage" aria-labelledby="backstage-title">
      <h2 id="backstage-title">Backstage</h2>
      <section className="card" aria-labelledby="break-title">
        <h3 id="break-title">Break something</h3>
        <ul>
          {front.nodes.map((node) => (
            <Node key={node.name} {...node} sample={byNode[node.name]?.at(-1)} />
          ))}
        </ul>
        <Faults front={front} />
      </section>
      <section className="card column" id="history" aria-labelledby="timeline-title">
        <h3 id="timeline-title">What my connection went through</h3>
        <Timeline />
      </section>
      <section className="card" aria-labelledby="dashboard-title">
        <h3 id="dashboard-title">The last minute</h3>
        <Charts byNode={byNode} front={front} />
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
    if (!(await command('/redis/freeze', { ms: FREEZE }))) return;
    setIsFrozen(true);
    note('bad', `${title}: messages wait, and no user goes offline`);
    setTimeout(() => {
      setIsFrozen(false);
      note('good', 'Redis can be reached again');
    }, FREEZE);
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

const Timeline = () => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, also by keyboard.
  <ol id="timeline" aria-labelledby="timeline-title" tabIndex={0}>
    {useNotes()
      .filter(({ kind }) => kind !== 'toast')
      .map(({ key, at, kind, text }) => (
        <li key={key} data-status={kind}>
          <Dot /> <time className="quiet">{clock(at, 'medium')}</time> {text}
        </li>
      ))}
  </ol>
);

function Charts({ byNode, front }) {
  const now = Math.max(...Object.values(byNode).map((samples) => samples.at(-1).at));
  const lines = (read, field) =>
    Object.fromEntries(front.nodes.map(({ name }) => [name, read(byNode[name] ?? [], field)]));
  return (
    <div id="charts">
      <Chart title="Online users" now={now} lines={lines(level, 'users')} />
      <Chart title="Connects per second" now={now} lines={lines(rate, 'connects')} />
      <Chart title="Reconnects" now={now} lines={lines(rate, 'reconnects')} />
      <Chart title="Messages per second" now={now} lines={lines(rate, 'messages')} />
    </div>
  );
}
