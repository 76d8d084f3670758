// The entry form: a name, and the node to connect to.
import { useActionState, useEffect, useRef } from 'react';
import { startSession } from './session.js';

const NAMES = ['ada', 'alan', 'barbara', 'dennis', 'edsger', 'frances', 'grace', 'ken', 'margaret', 'radia'];
const ANY = { name: NAMES[Math.floor(Math.random() * NAMES.length)] };

export function Entry({ nodes, onEnter }) {
  const field = useRef();
  const enter = async (_, form) => {
    const name = form.get('name').trim();
    try {
      onEnter(await startSession(name, form.get('node')));
      return { name };
    } catch ({ message }) {
      return { name, problem: message };
    }
  };
  const [last, action, isBusy] = useActionState(enter, ANY);
  // biome-ignore lint/correctness/useExhaustiveDependencies: again after each problem.
  useEffect(() => field.current.select(), [last]);
  return (
    <main id="entry">
      <form className="card" action={action}>
        <h1>rollcall</h1>
        <p className="quiet">
          A chat over two server nodes that share nothing but Redis. Open it in two tabs, write in both, then
          kill a node during the conversation: no message is lost.
        </p>
        <label htmlFor="name">Your name</label>
        <input
          id="name"
          name="name"
          ref={field}
          defaultValue={last.name}
          maxLength={24}
          required
          autoComplete="off"
          autoCapitalize="none"
        />
        <label htmlFor="node">Connect to</label>
        <select id="node" name="node">
          <option value="">any node</option>
          {nodes.map((node) => (
            <option key={node.name}>{node.name}</option>
          ))}
        </select>
        <p className="bad" role="alert">
          {last.problem}
        </p>
        <button className="main" type="submit" disabled={isBusy}>
          Join the chat
        </button>
      </form>
    </main>
  );
}
