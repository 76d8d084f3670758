// Helpers to build the page. Text is only added as text, never parsed as HTML.

export const $ = (id) => document.getElementById(id);

/** Creates an element with properties and children; `dataset` takes an object. */
export function element(tag, { dataset, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** Creates an SVG element with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Finds or creates the child of `parent` for `key`, so that unchanged children keep the focus. */
export function keyed(parent, key, make) {
  for (const child of parent.children) if (child.dataset.key === key) return child;
  const made = make();
  made.dataset.key = key;
  parent.append(made);
  return made;
}

/** Removes the children of `parent` whose keys are not among `keys`. */
export function keepOnly(parent, keys) {
  for (const child of [...parent.children]) if (!keys.has(child.dataset.key)) child.remove();
}

/** Sets the text only if it changes, because screen readers announce each write to a live region. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A user's avatar: the first letter, in a colour derived from the name. */
export function face(name) {
  const made = element('span', { className: 'face', ariaHidden: 'true' }, [...name][0] ?? '?');
  let hue = 0;
  for (const char of name) hue = (hue * 31 + char.codePointAt(0) * 7) % 360;
  made.style.setProperty('--hue', String(hue));
  return made;
}

/** A link that opens the demo in another tab, where another user can sign in. */
export const another = (text) => element('a', { href: '/', target: '_blank', rel: 'noopener' }, text);

export const dot = () => element('span', { className: 'dot', ariaHidden: 'true' });

export const plural = (count, what) => `${count} ${what}${count === 1 ? '' : 's'}`;

/** `a, b and c` */
export function list(names) {
  return names.length < 2 ? names.join('') : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

export function clock(at, seconds = false) {
  const parts = { hour: '2-digit', minute: '2-digit', ...(seconds ? { second: '2-digit' } : {}) };
  return new Date(at).toLocaleTimeString([], { ...parts, hourCycle: 'h23' });
}

export function toast(text) {
  const item = element('p', {}, text);
  $('toasts').append(item);
  setTimeout(() => item.remove(), 5_000);
}

/** Sends a POST to the front. Throws an Error with its message if it fails. */
export async function post(path, body = {}) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const result = await response.json();
  if (!response.ok) throw new Error(result.error);
  return result;
}
