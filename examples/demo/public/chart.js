// A plot of the last minute: one line per node, or bars for rare events.
import { element, setText, svg } from './dom.js';

const WINDOW = 60_000;
/** Time in ms without a sample after which the line has a gap: the node was down, or Redis unavailable. */
const GAP = 2_600;
const WIDTH = 300;
const HEIGHT = 64;

export class Chart {
  #series;
  #field;
  #rate;
  #bars;
  /** The latest sample of each source, to compute differences. */
  #last = new Map();
  #newest = 0;
  #frame;

  /**
   * @param series lines: the `source` of the samples each shows; bars: the total whose increase each shows
   * @param field the field of a sample that the lines show
   */
  constructor(title, series, field, { rate = false, bars = false } = {}) {
    this.#field = field;
    this.#rate = rate;
    this.#bars = bars;
    this.#series = series.map((one, at) => ({
      ...one,
      points: [],
      value: element('b', {}, '0'),
      mark: svg('path', { class: `series s${at + 1}${bars ? ' bars' : ''}` }),
    }));
    this.plot = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
    this.plot.append(
      ...[1, HEIGHT / 2, HEIGHT - 1].map((y) => svg('path', { class: 'grid', d: `M0 ${y}H${WIDTH}` })),
      ...this.#series.map(({ mark }) => mark),
    );
    this.scale = element('span', { className: 'scale', ariaHidden: 'true' });
    this.title = element('span', { className: 'title' }, title);
    this.total = element('b');
    const legend = this.#series.map(({ label, value }, at) =>
      element('span', { className: `legend s${at + 1}` }, label, ' ', value),
    );
    const caption = element(
      'figcaption',
      {},
      element('span', { className: 'heading' }, this.title, ' ', this.total),
      element('span', { className: 'legends' }, ...legend),
    );
    this.root = element('figure', {}, caption, element('div', { className: 'plot' }, this.plot, this.scale));
  }

  /** A number beside the title. */
  heading(text) {
    setText(this.total, text);
  }

  addSample(sample) {
    const before = this.#last.get(sample.source);
    this.#last.set(sample.source, sample);
    this.#newest = Math.max(this.#newest, sample.at);
    // Totals start at 0 in each process.
    const same = before?.started === sample.started ? before : undefined;
    for (const series of this.#series) {
      if (series.total !== undefined) {
        const grown = same ? sample[series.total] - same[series.total] : 0;
        if (grown > 0) series.points.push({ at: sample.at, value: grown });
      } else if (series.source === sample.source) {
        const value = sample[this.#field];
        const rate = same ? ((value - same[this.#field]) * 1_000) / (sample.at - same.at) : 0;
        series.points.push({ at: sample.at, value: this.#rate ? Math.max(0, rate) : value });
      }
    }
    // Draw once per frame: a page that opens receives a minute of samples at once.
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = undefined;
    const from = this.#newest - WINDOW;
    let max = 4;
    for (const { points } of this.#series) {
      while (points.length > 0 && points[0].at < from) points.shift();
      for (const { value } of points) max = Math.max(max, value);
    }
    max = roundUp(max);
    const x = (at) => (((at - from) / WINDOW) * WIDTH).toFixed(1);
    const y = (value) => (HEIGHT - 1 - (value / max) * (HEIGHT - 2)).toFixed(1);
    for (const [index, { points, mark, value }] of this.#series.entries()) {
      let d = '';
      let previous;
      for (const { at, value } of points) {
        // Bars of the same moment are drawn side by side.
        if (this.#bars) d += `M${Number(x(at)) - 8 + index * 4} ${y(0)}V${y(value)}`;
        else d += `${previous !== undefined && at - previous < GAP ? 'L' : 'M'}${x(at)} ${y(value)}`;
        previous = at;
      }
      mark.setAttribute('d', d);
      const sum = points.reduce((all, point) => all + point.value, 0);
      // A node without recent samples counts as 0.
      const now = previous !== undefined && this.#newest - previous < GAP ? points.at(-1).value : 0;
      setText(value, String(this.#bars ? sum : Math.round(now * 10) / 10));
    }
    setText(this.scale, String(max));
    const values = this.#series.map(({ label, value }) => `${label} ${value.textContent}`).join(', ');
    this.plot.setAttribute('aria-label', `${this.title.textContent}: ${values}`);
  }
}

/** Rounds up to a round number for the top of the scale. */
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}
