// In flight against its limit over the last hour, small enough for a line of a table: an SVG of attributes only.
import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { history } from "./live";
import { useStore } from "./store";

const WIDTH = 120;
const HEIGHT = 24;
/** Points that are drawn; more would not be seen. */
const DRAWN = 60;

export function Sparkline({ upstream, limit }: { upstream: string; limit: number }) {
  const [place, isSeen] = useSeen();
  useStore(history.changed, (steps) => (isSeen ? steps : 0));
  const values = isSeen ? history.of(upstream, "upstream.in_flight") : [];
  const points = thinned(values, DRAWN);
  const peak = Math.max(1, limit, ...points.map((value) => value ?? 0));
  const y = (value: number) => (HEIGHT - 1 - (value / peak) * (HEIGHT - 2)).toFixed(1);
  const most = Math.max(0, ...values.map((value) => value ?? 0));
  return (
    <svg ref={place} class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`At most ${most} in flight in the last hour`}>
      <line class="spark-limit" x1="0" x2={WIDTH} y1={y(limit)} y2={y(limit)} />
      <path class="spark-line" d={path(points, y)} />
    </svg>
  );
}

/** Whether it is or was on the screen: what nobody has scrolled to needs no past. */
function useSeen(): [RefObject<SVGSVGElement | null>, boolean] {
  const place = useRef<SVGSVGElement>(null);
  const [isSeen, setSeen] = useState(false);
  useEffect(() => {
    const watch = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      setSeen(true);
      watch.disconnect();
    });
    if (place.current !== null) watch.observe(place.current);
    return () => watch.disconnect();
  }, []);
  return [place, isSeen];
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
