// Parts that several panels use.
import { useEffect, useState, useSyncExternalStore } from 'react';

export const Button = (props) => <button type="button" {...props} />;
export const Dot = () => <span className="dot" aria-hidden="true" />;
export const Icon = ({ path }) => (
  <svg aria-hidden="true" viewBox="0 0 20 20">
    <path d={path} />
  </svg>
);

/** A user's avatar: the first letter, in a colour derived from the name. */
export function Face({ name = '?' }) {
  const hue = [...name].reduce((hue, char) => (hue * 31 + char.codePointAt(0) * 7) % 360, 0);
  return (
    <span className="face" aria-hidden="true" style={{ '--hue': hue }}>
      {[...name][0]}
    </span>
  );
}

/** A link that opens the demo in another tab, where another user can sign in. */
export const SecondTab = (props) => <a href="/" target="_blank" rel="noopener" {...props} />;

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
/** `a, b and c` */
export const list = (names) => new Intl.ListFormat('en-GB').format(names);
export const clock = (at, timeStyle = 'short') =>
  new Date(at).toLocaleTimeString([], { timeStyle, hourCycle: 'h23' });

let notes = [];
const listeners = new Set();
const setNotes = (next) => {
  notes = next;
  for (const listener of listeners) listener();
};
const subscribe = (listener) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};
/** The notes to the user, newest first. */
export const useNotes = () => useSyncExternalStore(subscribe, () => notes);

/** Adds an entry to the timeline of this connection. `kind`: good, bad or wait. */
export const note = (kind, text) =>
  setNotes([{ kind, text, at: Date.now(), key: Math.random() }, ...notes].slice(0, 30));

/** Shows a text for a few seconds. */
export function toast(text) {
  note('toast', text);
  const [added] = notes;
  setTimeout(() => setNotes(notes.filter((each) => each !== added)), 5_000);
}

/** Whether the user can see the element of `ref`. */
export function useIsVisible(ref) {
  const [isVisible, setIsVisible] = useState(false);
  useEffect(() => {
    let isInView = false;
    const update = () => setIsVisible(isInView && document.visibilityState === 'visible');
    const observer = new IntersectionObserver((entries) => {
      isInView = entries.at(-1).isIntersecting;
      update();
    });
    observer.observe(ref.current);
    document.addEventListener('visibilitychange', update);
    return () => {
      observer.disconnect();
      document.removeEventListener('visibilitychange', update);
    };
  }, [ref]);
  return isVisible;
}

/** Sends a POST to the front. @throws {Error} with the message of the front. */
export async function post(path, body = {}) {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body) });
  const result = await response.json();
  if (!response.ok) throw new Error(result.error);
  return result;
}

/** As `post`, for a button: a failure is shown, and resolves with undefined. */
export const command = (path, body) => post(path, body).catch((error) => toast(error.message));
