import type { HandshakeRequest } from './options.js';

/** `name`: in lower case. */
export function readHeader({ headers }: HandshakeRequest, name: string): unknown {
  const { get } = headers;
  return typeof get === 'function' ? get.call(headers, name) : (headers as Record<string, unknown>)[name];
}

/** A parameter of the URL's query. */
export function readParameter(request: HandshakeRequest | undefined, name: string): string | null {
  const url = request?.url ?? '';
  return new URLSearchParams(url.slice(url.indexOf('?') + 1)).get(name);
}
