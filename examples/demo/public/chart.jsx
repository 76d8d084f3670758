// Plots of the last minute: a line per node, or bars for rare events.

const WINDOW = 60_000;
/** Time in ms without a sample after which a line has a gap: the node was down, or Redis could not be reached. */
const GAP = 2_600;
const WIDTH = 300;
const HEIGHT = 64;

/** Each sample with the one before it of the same process, if any: the totals of a process start at 0. */
function pairs(samples) {
  const last = new Map();
  return samples.map((sample) => {
    const before = last.get(sample.source);
    last.set(sample.source, sample);
    return { sample, before: before?.started === sample.started ? before : undefined };
  });
}

/** The values of `field` in the samples of a node. */
export const levels = (samples, field) => samples.map((sample) => ({ at: sample.at, value: sample[field] }));

/** By how much the total `field` has grown per second in the samples of a node. */
export const rates = (samples, field) =>
  pairs(samples).map(({ sample, before = sample }) => {
    const seconds = (sample.at - before.at) / 1_000 || 1;
    return { at: sample.at, value: (sample[field] - before[field]) / seconds };
  });

/** Each growth of the total `field`, in the samples of all processes. */
export const increases = (samples, field) =>
  pairs(samples)
    .map(({ sample, before = sample }) => ({ at: sample.at, value: sample[field] - before[field] }))
    .filter(({ value }) => value > 0);

/**
 * @param total a number beside the title
 * @param now the time of the newest sample
 * @param lines points by label
 * @param bars draws each point as a bar, and shows their sum
 */
export function Chart({ title, total, now, lines, bars = false }) {
  const from = now - WINDOW;
  const shown = Object.entries(lines).map(([label, all]) => {
    const points = all.filter(({ at }) => at >= from);
    const newest = points.at(-1);
    const sum = points.reduce((sum, { value }) => sum + value, 0);
    // A node without recent samples counts as 0.
    const level = newest && now - newest.at < GAP ? Math.round(newest.value * 10) / 10 : 0;
    return { label, points, number: bars ? sum : level };
  });
  const top = roundUp(Math.max(4, ...shown.flatMap(({ points }) => points.map(({ value }) => value))));
  const x = (at) => ((at - from) / WINDOW) * WIDTH;
  const y = (value) => (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1);
  const draw = (line) => (point, i, points) => {
    // Bars of the same moment are drawn side by side.
    if (bars) return `M${x(point.at) - 8 + line * 4} ${y(0)}V${y(point.value)}`;
    const isNext = i > 0 && point.at - points[i - 1].at < GAP;
    return `${isNext ? 'L' : 'M'}${x(point.at).toFixed(1)} ${y(point.value)}`;
  };
  const label = `${title}: ${shown.map(({ label, number }) => `${label} ${number}`).join(', ')}`;
  return (
    <figure className="column">
      <figcaption>
        {title} <b>{total}</b>
        <br />
        {shown.map(({ label, number }, i) => (
          <small key={label} className={`s${i + 1}`}>
            {label} <b>{number}</b>
          </small>
        ))}
      </figcaption>
      <div className="scale" aria-hidden="true">
        {top}
      </div>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={label}>
        <path d={`M0 1H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}`} />
        {shown.map(({ label, points }, i) => (
          <path key={label} className={`series s${i + 1}`} d={points.map(draw(i)).join('')} />
        ))}
      </svg>
    </figure>
  );
}

/** Rounds up to a round number for the top of the scale. */
function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 8, 10].map((step) => step * unit).find((step) => step >= value);
}
