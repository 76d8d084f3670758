/**
 * A plugin of markdown-it. Each cell of a table has the text of its column's heading as `data-label`, which the style sheet shows on
 * phones, where a row is a list of its cells. An empty heading is an empty cell.
 */
export function labelCells(md) {
  md.core.ruler.push('label-cells', ({ tokens }) => {
    let headings = [];
    let column = 0;
    for (const [at, token] of tokens.entries()) {
      if (token.type === 'thead_open') headings = [];
      if (token.type === 'tr_open') column = 0;
      if (token.type === 'th_open') {
        const text = textOf(tokens[at + 1]);
        headings.push(text);
        if (text === '') for (const each of [token, tokens[at + 2]]) each.tag = 'td';
      }
      if (token.type === 'td_open') {
        const label = headings[column++];
        if (label) token.attrSet('data-label', label);
      }
    }
  });
}

/** The text without marks and links. */
const textOf = ({ children }) => children.map(({ content }) => content).join('');
