import { readFileSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import { deferred, waitFor } from '../support/wait.js';
import { ReactTab, startFixture } from './react-fixture.js';

/** The chat of docs/react.md, as it is there. */
function readChat(): string {
  const guide = readFileSync(new URL('../../docs/react.md', import.meta.url), 'utf8');
  const blocks = [...guide.matchAll(/```tsx\n(.*?)```/gs)].map(([, code]) => code as string);
  return blocks.find((code) => code.includes('export function Chat({ room }')) as string;
}

const PAGE = `
import { createRoot } from 'react-dom/client';
import { connect } from 'rollcall/client';
import { RollcallProvider } from 'rollcall/react';

const client = connect({ url: '/?user=alice', backoff: { first: 50, max: 200 }, timeout: 1_000 });
const root = document.getElementById('root');
const seen = [];
new MutationObserver(() => {
  const shown = [...root.querySelectorAll('li')].map((item) => item.className).join(' ');
  if (shown !== seen.at(-1)) seen.push(shown);
}).observe(root, { subtree: true, childList: true, attributes: true });
Object.assign(globalThis, { client, seen, show() {} });
createRoot(root).render(<RollcallProvider client={client}><Chat room="lobby" /></RollcallProvider>);
`;

test.each([
  [19, 'production'],
  [18, 'development'],
] as const)(
  'on React %i (%s), the chat of the guide keeps a text that is sent during a lost connection, and sends it again on demand',
  async (react, mode) => {
    const fixture = await startFixture(react, 'embedded', mode, readChat() + PAGE);
    onTestFinished(() => fixture.end());
    const alice = await ReactTab.open(fixture, 'alice');
    const { tab } = alice;
    await tab.getByText('1 here').waitFor();
    const opened = deferred();
    fixture.gate = opened.promise;
    for (const socket of fixture.sockets.clients) socket.terminate();
    await alice.until('the connection to break', ({ client }) => client.state !== 'open');
    await tab.fill('input', 'an important text');
    await tab.press('input', 'Enter');
    expect(await tab.inputValue('input')).toBe('');
    await tab.getByText('Not sent. Try again').waitFor();
    expect(await tab.locator('li').textContent()).toContain('alice: an important text');
    opened.resolve();
    await alice.until('the connection', ({ client }) => client.state === 'open');
    await tab.getByText('Not sent. Try again').click();
    await tab.locator('li.received').waitFor();
    const seen = await tab.evaluate<string[]>('globalThis.seen');
    expect(seen.filter((shown) => shown !== '').slice(0, 2)).toEqual(['pending', 'failed']);
    const kept = await waitFor(async () => (await fixture.rooms.history('lobby', { limit: 5 })).messages);
    expect(kept.map(({ message }) => message.data)).toEqual([{ text: 'an important text' }]);
    // Among them would be a promise that nobody handles.
    expect(alice.problems).toEqual([]);
  },
);
