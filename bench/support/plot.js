// @ts-check
// Small SVG files, readable on light and on dark pages: they bring their own background.

const STYLE = `<style>
  .page{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0;stroke-width:1}
  .a{fill:#0a6ed1}.b{fill:#9a6700}.la{stroke:#0a6ed1}.lb{stroke:#c4501b}.own{font-weight:600}
  .line{fill:none;stroke-width:1.6}.dim{opacity:.45}.mark{stroke:#8250df;stroke-dasharray:3 3}
  text{font:12px system-ui,sans-serif}
  @media (prefers-color-scheme:dark){.page{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#2f3742}
  .a{fill:#58a6ff}.b{fill:#d29922}.la{stroke:#58a6ff}.lb{stroke:#f0883e}.mark{stroke:#a371f7}}
</style>`;

/** @param {string} text */
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {string} [looks]
 */
const text = (x, y, content, looks = 'class="ink"') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${looks}>${escaped(content)}</text>`;

/**
 * @param {number} width
 * @param {number} height
 * @param {string} title
 * @param {string[]} body
 */
const svg = (width, height, title, body) =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escaped(title)}</title>
${STYLE}
<rect class="page" width="${width}" height="${height}" rx="6"/>
${body.join('\n')}
</svg>
`;

/** @param {number} value */
const short = (value) => {
  if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  if (value >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
};

/**
 * Horizontal bars in groups: a solid part for the process, a pale one after it for Redis.
 *
 * @param {{ title: string, unit: string, groups: { name: string, bars: { name: string, own: boolean,
 *   client: number, redis: number }[] }[] }} chart
 */
export function bars({ title, unit, groups }) {
  const [width, left, right, row] = [760, 236, 96, 22];
  const all = groups.flatMap((group) => group.bars);
  const scale = (width - left - right) / Math.max(...all.map(({ client, redis }) => client + redis));
  const body = [text(16, 24, title, 'class="ink own" style="font-size:14px"')];
  body.push(
    `<rect class="a" x="16" y="36" width="10" height="10"/>${text(31, 45, 'process', 'class="soft"')}`,
  );
  body.push(
    `<rect class="a dim" x="84" y="36" width="10" height="10"/>${text(99, 45, `Redis; µs of CPU per ${unit}`, 'class="soft"')}`,
  );
  let y = 58;
  for (const group of groups) {
    body.push(text(16, y + 14, group.name, 'class="soft"'));
    y += row;
    for (const { name, own, client, redis } of group.bars) {
      const looks = own ? 'class="ink own"' : 'class="ink"';
      const kind = own ? 'a' : 'b';
      body.push(
        text(left - 8, y + 14, name, `${looks} text-anchor="end"`),
        `<rect class="${kind}" x="${left}" y="${y + 3}" width="${(client * scale).toFixed(1)}" height="15"/>`,
        `<rect class="${kind} dim" x="${(left + client * scale).toFixed(1)}" y="${y + 3}" width="${(redis * scale).toFixed(1)}" height="15"/>`,
        text(
          left + (client + redis) * scale + 6,
          y + 14,
          `${short(client)} + ${short(redis)}`,
          'class="soft"',
        ),
      );
      y += row;
    }
    y += 6;
  }
  return svg(width, y + 8, title, body);
}

/**
 * The next number above that divides into four round ones.
 *
 * @param {number} value
 */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return (
    power * /** @type {number} */ ([1, 1.2, 1.6, 2, 3, 4, 6, 8, 10].find((step) => step * power >= value))
  );
}

/**
 * Lines over time, with moments marked.
 *
 * @param {{ title: string, unit: string, lines: { name: string, points: { at: number, value: number }[] }[],
 *   marks: { at: number, name: string }[] }} chart at most two lines; `at` in seconds
 */
export function lines({ title, unit, lines: series, marks }) {
  const [width, height, left, right, top, bottom] = [760, 240, 64, 16, 64, 28];
  const points = series.flatMap((each) => each.points);
  const last = Math.max(1, ...points.map(({ at }) => at));
  const most = roundUp(Math.max(1e-9, ...points.map(({ value }) => value)));
  const x = (/** @type {number} */ at) => left + (at / last) * (width - left - right);
  const y = (/** @type {number} */ value) => height - bottom - (value / most) * (height - top - bottom);
  const body = [text(16, 24, `${title}, ${unit}`, 'class="ink own" style="font-size:14px"')];
  for (let at = 0; at <= 4; at++) {
    const value = (most * at) / 4;
    body.push(
      `<line class="grid" x1="${left}" x2="${width - right}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}"/>`,
      text(left - 8, y(value) + 4, short(value), 'class="soft" text-anchor="end"'),
    );
  }
  for (let at = 0; at <= 6; at++) {
    const second = (last * at) / 6;
    body.push(text(x(second), height - 8, `${second.toFixed(0)} s`, 'class="soft" text-anchor="middle"'));
  }
  marks.forEach(({ at, name }, place) => {
    body.push(
      `<line class="mark" x1="${x(at).toFixed(1)}" x2="${x(at).toFixed(1)}" y1="${top - 6}" y2="${height - bottom}"/>`,
      // Neighbours must not be written over each other.
      text(x(at) + 3, top - 10 - (place % 2) * 13, name, 'class="soft" style="font-size:11px"'),
    );
  });
  series.forEach(({ name, points: own }, place) => {
    const kind = place === 0 ? 'la' : 'lb';
    const path = own.map(
      ({ at, value }, n) => `${n === 0 ? 'M' : 'L'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`,
    );
    body.push(`<path class="line ${kind}" d="${path.join('')}"/>`);
    if (series.length > 1) {
      const start = width - right - 90 * (series.length - place);
      body.push(
        `<line class="line ${kind}" x1="${start}" x2="${start + 18}" y1="20" y2="20"/>`,
        text(start + 23, 24, name, 'class="soft"'),
      );
    }
  });
  return svg(width, height, title, body);
}
