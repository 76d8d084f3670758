// A plot of the last minute: one line per node, or bars for rare events.

const WINDOW = 60_000;
/** Time in ms without a sample after which a line has a gap: the node was down, or Redis could not be reached. */
const GAP = 2_600;
const WIDTH = 300;
const HEIGHT = 64;

/** The values of `field` in the samples of `source`. */
export const levels = (samples, source, field) =>
  samples.filter((sample) => sample.source === source).map(({ at, [field]: value }) => ({ at, value }));

/** The increase per second of the total `field` in the samples of `source`. */
export const rates = (samples, source, field) =>
  pairs(samples.filter((sample) => sample.source === source)).map(([before, { at, [field]: total }]) => ({
    at,
    value: before ? Math.max(0, ((total - before[field]) * 1_000) / (at - before.at)) : 0,
  }));

/** Each increase of the total `field` in the samples of any source. */
export const increases = (samples, field) =>
  pairs(samples).flatMap(([before, { at, [field]: total }]) =>
    before && total > before[field] ? { at, value: total - before[field] } : [],
  );

/** Each sample after the one before it of the same process: the totals of a process start at 0. */
function pairs(samples) {
  const last = new Map();
  return samples.map((sample) => {
    const before = last.get(sample.source);
    last.set(sample.source, sample);
    return [before?.started === sample.started ? before : undefined, sample];
  });
}

/**
 * @param title
 * @param total a number beside the title
 * @param now the time of the newest sample
 * @param series the points of the last minute by label
 * @param bars draws each point as a bar, and shows their sum
 */
export function Chart({ title, total, now, series, bars = false }) {
  const from = now - WINDOW;
  const lines = Object.entries(series).map(([label, points]) => [
    label,
    points.filter(({ at }) => at >= from),
  ]);
  const top = roundUp(Math.max(4, ...lines.flatMap(([, points]) => points.map(({ value }) => value))));
  const x = ({ at }) => Math.round(((at - from) / WINDOW) * WIDTH * 10) / 10;
  const y = (value) => (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1);

  const drawLine = (points) =>
    points.map((point, i) => {
      const isNext = i > 0 && point.at - points[i - 1].at < GAP;
      return `${isNext ? 'L' : 'M'}${x(point)} ${y(point.value)}`;
    });
  // Bars of the same moment are drawn side by side.
  const drawBars = (points, index) =>
    points.map((point) => `M${x(point) - 8 + index * 4} ${y(0)}V${y(point.value)}`);
  const number = (points) => {
    if (bars) return points.reduce((sum, { value }) => sum + value, 0);
    const newest = points.at(-1);
    // A node without recent samples counts as 0.
    return newest && now - newest.at < GAP ? Math.round(newest.value * 10) / 10 : 0;
  };

  const numbers = lines.map(([label, points]) => `${label} ${number(points)}`);
  return (
    <figure>
      <figcaption>
        {title} <b>{total}</b>
        <span className="legends">
          {lines.map(([label, points], i) => (
            <span key={label} className={`legend s${i + 1}`}>
              {label} <b>{number(points)}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div className="plot">
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={`${title}: ${numbers.join(', ')}`}
        >
          <path
            className="grid"
            d={[1, HEIGHT / 2, HEIGHT - 1].map((line) => `M0 ${line}H${WIDTH}`).join('')}
          />
          {lines.map(([label, points], i) => (
            <path
              key={label}
              className={`series s${i + 1} ${bars ? 'bars' : ''}`}
              d={(bars ? drawBars(points, i) : drawLine(points)).join('')}
            />
          ))}
        </svg>
        <span className="scale" aria-hidden="true">
          {top}
        </span>
      </div>
    </figure>
  );
}

/** Rounds up to a round number for the top of the scale. */
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}
