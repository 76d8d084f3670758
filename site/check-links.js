import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Follows every link and every image between the built pages.
 *
 * @param {string} folder
 * @param {string} base the path under which the site is served, such as `/` or `/docs/`
 * @returns {Promise<number>} the number of pages
 * @throws an `Error` that lists the links whose page, file or anchor does not exist
 */
export async function checkLinks(folder, base) {
  const files = new Set(
    (await readdir(folder, { recursive: true })).map((file) => file.replaceAll('\\', '/')),
  );
  const pages = new Map();
  for (const name of files) {
    if (!name.endsWith('.html') || name === '404.html') continue;
    const html = await readFile(join(folder, name), 'utf8');
    const anchors = new Set([...html.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => unescapeHtml(id)));
    const links = [...html.matchAll(/<(?:a|img)\s[^>]*?(?:href|src)="([^"]+)"/g)].map(([, link]) =>
      unescapeHtml(link),
    );
    pages.set(name, { anchors, links: new Set(links) });
  }
  const broken = [];
  for (const [name, { links }] of pages) {
    for (const link of links) {
      const { host, pathname, hash } = new URL(link, `http://site${base}${name}`);
      if (host !== 'site') continue;
      const path = decodeURIComponent(pathname);
      const target = path.startsWith(base) ? path.slice(base.length).replace(/(^|\/)$/, '$1index.html') : '';
      const anchor = decodeURIComponent(hash.slice(1));
      const found = anchor === '' ? files.has(target) : pages.get(target)?.anchors.has(anchor);
      if (!found) broken.push(`${name}: ${link}`);
    }
  }
  if (broken.length > 0) throw new Error(`broken links:\n${broken.join('\n')}`);
  return pages.size;
}

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" };

function unescapeHtml(text) {
  return text.replaceAll(/&(amp|lt|gt|quot|#39);/g, (_, name) => ENTITIES[name]);
}
