/** Where `fetch.js` puts the start script of a server. */
export function programOf(name: string): string;
/** The names in a list such as `SERVERS`: `all`, or names with commas between them. */
export function serverNames(list: string | undefined): string[];
