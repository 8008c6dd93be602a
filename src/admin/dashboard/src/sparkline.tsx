// In flight against its limit over the last hour, small enough for a line of a table: an SVG of attributes only.
import { history } from "./live";
import { useStore } from "./store";

const WIDTH = 120;
const HEIGHT = 24;
/** Points that are drawn; more would not be seen. */
const DRAWN = 60;

export function Sparkline({ upstream, limit }: { upstream: string; limit: number }) {
  useStore(history.changed, (steps) => steps);
  const values = history.of(upstream, "upstream.in_flight");
  const points = thinned(values, DRAWN);
  const peak = Math.max(1, limit, ...points.map((value) => value ?? 0));
  const y = (value: number) => (HEIGHT - 1 - (value / peak) * (HEIGHT - 2)).toFixed(1);
  const most = Math.max(0, ...values.map((value) => value ?? 0));
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`At most ${most} in flight in the last hour`}>
      <line class="spark-limit" x1="0" x2={WIDTH} y1={y(limit)} y2={y(limit)} />
      <path class="spark-line" d={path(points, y)} />
    </svg>
  );
}

/** The largest of each group, the newest on the right: a peak must not get lost. */
function thinned(values: (number | null)[], groups: number): (number | null)[] {
  const size = Math.max(1, Math.ceil(values.length / groups));
  const thin: (number | null)[] = [];
  for (let end = values.length; end > 0; end -= size) {
    const group = values.slice(Math.max(0, end - size), end).filter((value) => value !== null);
    thin.unshift(group.length === 0 ? null : Math.max(...group));
  }
  return thin;
}

function path(points: (number | null)[], y: (value: number) => string): string {
  const step = WIDTH / (DRAWN - 1);
  const first = DRAWN - points.length;
  let pen = "M";
  return points
    .map((value, at) => {
      if (value === null) {
        pen = "M";
        return "";
      }
      const drawn = `${pen}${((first + at) * step).toFixed(1)} ${y(value)}`;
      pen = "L";
      return drawn;
    })
    .join("");
}
