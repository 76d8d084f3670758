// A plot of the last minute, with a line per node.

const WINDOW = 60_000;
/** Time in ms without a sample after which a line has a gap: the node was down, or Redis could not be reached. */
const GAP = 2_600;
const WIDTH = 300;
const HEIGHT = 64;

/** The points of a plot: `field` in the samples of a node. */
export const level = (samples, field) => samples.map((sample) => ({ at: sample.at, value: sample[field] }));

/** The points of a plot: by how much the total `field` has grown per second. The totals of a process start at 0. */
export const rate = (samples, field) =>
  samples.map((sample, i) => {
    const before = samples[i - 1]?.started === sample.started ? samples[i - 1] : sample;
    const seconds = (sample.at - before.at) / 1_000 || 1;
    return { at: sample.at, value: (sample[field] - before[field]) / seconds };
  });

/** @param now the time of the newest sample @param lines points by label */
export function Chart({ title, now, lines }) {
  const from = now - WINDOW;
  const shown = Object.entries(lines).map(([label, all]) => {
    const points = all.filter(({ at }) => at >= from);
    const newest = points.at(-1);
    // A node without recent samples counts as 0.
    const number = newest && now - newest.at < GAP ? Math.round(newest.value * 10) / 10 : 0;
    return { label, points, number };
  });
  const top = Math.max(4, ...shown.flatMap(({ points }) => points.map(({ value }) => Math.ceil(value))));
  const draw = ({ at, value }, i, points) => {
    const isNext = i > 0 && at - points[i - 1].at < GAP;
    const x = ((at - from) / WINDOW) * WIDTH;
    const y = HEIGHT - 1 - (value / top) * (HEIGHT - 2);
    return `${isNext ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
  };
  const label = shown.map(({ label, number }) => `${label} ${number}`).join(', ');
  return (
    <figure>
      <figcaption>
        {title}
        <br />
        {shown.map(({ label, number }, i) => (
          <small key={label} className={`s${i + 1}`}>
            {label} <b>{number}</b>
          </small>
        ))}
      </figcaption>
      <small className="scale" aria-hidden="true">
        {top}
      </small>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${title}: ${label}`}
      >
        <path d={`M0 1H${WIDTH}M0 ${HEIGHT - 1}H${WIDTH}`} />
        {shown.map(({ label, points }, i) => (
          <path key={label} className={`series s${i + 1}`} d={points.map(draw).join('')} />
        ))}
      </svg>
    </figure>
  );
}
