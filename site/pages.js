import { readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { toCodeTabs } from './code-tabs.js';

/**
 * The Markdown files of the repository that are pages of the site.
 *
 * @param {string} root the folder of the repository
 * @returns {Promise<Map<string, string>>} the file in the site, by the file in the repository
 */
export async function findPages(root) {
  const pages = new Map([
    ['README.md', 'index.md'],
    ['CHANGELOG.md', 'changelog.md'],
    ['CONTRIBUTING.md', 'contributing.md'],
    ['docs/decisions/', 'decisions/index.md'],
  ]);
  for (const folder of ['docs', 'docs/decisions']) {
    for (const name of await readdir(join(root, folder))) {
      const file = `${folder}/${name}`;
      if (name.endsWith('.md')) pages.set(file, file.slice('docs/'.length));
    }
  }
  return pages;
}

/** A code block, or a code span: text in which nothing is a link. */
const CODE = /^```[^\n]*\n[\s\S]*?\n```$|`[^`\n]+`/gm;
const LINK = /(!?)\[((?:[^\][]|\[[^\]]*\])*)\]\(([^)\s]+)\)/g;

/**
 * Turns a Markdown file of the repository into a page of the site: links lead to pages of the site, and code blocks get tabs. A link to
 * a file that the site does not have, such as an example, becomes its text.
 *
 * @param {string} text
 * @param {string} file the file in the repository
 * @param {ReadonlyMap<string, string>} pages
 * @returns {string}
 */
export function toSitePage(text, file, pages) {
  const to = pages.get(file) ?? file;
  const code = [];
  // Code is taken out first, because it may contain what looks like a link.
  const withoutCode = text.replaceAll(CODE, (whole) => `\0${code.push(whole) - 1}\0`);
  const linked = withoutCode.replaceAll(LINK, (whole, image, label, target) => {
    if (/^(https?:|mailto:|#)/.test(target)) return whole;
    const [path = '', anchor] = target.split('#');
    const source = posix.join(posix.dirname(file), path);
    const page = image === '' ? pages.get(source) : source.replace(/^docs\//, '');
    if (page === undefined) return label;
    const link = relative(posix.dirname(to), page);
    return `${image}[${label}](${link}${anchor === undefined ? '' : `#${anchor}`})`;
  });
  return toCodeTabs(linked.replaceAll(/\0(\d+)\0/g, (_, at) => code[at]));
}

function relative(folder, file) {
  const path = posix.relative(folder, file);
  return path.startsWith('.') ? path : `./${path}`;
}
