// Small tools to build the page with. Text only ever becomes text: nothing here parses HTML.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; `dataset` and `style` take objects. */
export function element(tag, { dataset, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

/** The same for SVG, with attributes. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The child of `parent` that stands for `key`, made where there is none: what stays keeps its focus. */
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

/** Written only if it changes: what is written in a live region is read aloud. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A round picture of somebody: a letter, and a colour that is always the same. */
export function face(name) {
  const made = element('span', { className: 'face', ariaHidden: 'true' }, [...name][0] ?? '?');
  let hue = 0;
  for (const char of name) hue = (hue * 31 + char.codePointAt(0) * 7) % 360;
  made.style.setProperty('--hue', String(hue));
  return made;
}

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

/** Asks the front for something; throws what it says against that. */
export async function post(path, body = {}) {
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
