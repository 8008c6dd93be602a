// One chart of the last hour (uPlot). It takes its colours from the style sheet, follows the width of its place, and
// has a sentence with its newest numbers for those who do not see it.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { history } from "./live";
import type { LineName } from "./history";
import { STEP_MS } from "./history";
import { useStore } from "./store";

const HEIGHT = 130;
/** Where it stands beside a table. */
const SMALL = 90;

export interface Drawn {
  name: LineName;
  label: string;
  /** A variable of the style sheet. */
  colour: string;
  dashed?: boolean;
}

interface Props {
  /** Whose lines; `GATEWAY` for its own. */
  upstream: string;
  title: string;
  lines: Drawn[];
  unit: (value: number | null) => string;
  small?: boolean;
}

export function Chart({ upstream, title, lines, unit, small = false }: Props) {
  const height = small ? SMALL : HEIGHT;
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  useStore(history.changed, (steps) => steps);
  const data = points(upstream, lines);

  useEffect(() => {
    const element = place.current;
    if (element === null) return;
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const draw = () => {
      chart.current?.destroy();
      chart.current = new uPlot({ ...options(element, lines, unit), height }, points(upstream, lines), element);
    };
    const size = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== chart.current?.width) chart.current?.setSize({ width, height });
    });
    draw();
    size.observe(element);
    scheme.addEventListener("change", draw);
    return () => {
      size.disconnect();
      scheme.removeEventListener("change", draw);
      chart.current?.destroy();
      chart.current = null;
    };
  }, [upstream]);
  useEffect(() => chart.current?.setData(data), [data]);

  const newest = lines.map(({ label }, at) => `${label} ${unit(data[at + 1]?.at(-1) ?? null)}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>
        {title}
        {lines.map(({ name, label, colour, dashed }, at) => (
          <span key={name} class="key">
            <svg viewBox="0 0 16 8" aria-hidden="true">
              <line class={`line-${colour}${dashed ? " dashed" : ""}`} x1="0" x2="16" y1="4" y2="4" />
            </svg>
            {label} <b>{unit(data[at + 1]?.at(-1) ?? null)}</b>
          </span>
        ))}
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}, the last hour. Now: ${newest}`} />
    </figure>
  );
}

function points(upstream: string, lines: Drawn[]): uPlot.AlignedData {
  const columns = lines.map(({ name }) => history.of(upstream, name));
  const longest = Math.max(0, ...columns.map((column) => column.length));
  const last = history.at / 1_000;
  const times = Array.from({ length: longest }, (_, at) => last - ((longest - 1 - at) * STEP_MS) / 1_000);
  const filled = columns.map((column) => [...Array<null>(longest - column.length).fill(null), ...column]);
  return [times, ...filled];
}

function options(element: HTMLElement, lines: Drawn[], unit: (value: number | null) => string): Omit<uPlot.Options, "height"> {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  const axis: uPlot.Axis = {
    stroke: colour("quiet"),
    grid: { stroke: colour("rule"), width: 1 },
    ticks: { show: false },
    font: `11px ${style.fontFamily}`,
  };
  return {
    width: Math.max(200, element.clientWidth),
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 0, 0],
    scales: {
      x: { time: true, range: (chart, _, last) => [firstKnown(chart.data, last), last] },
      y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] },
    },
    axes: [
      { ...axis, size: 22, space: 60, values: (_, splits) => splits.map(clockTime) },
      { ...axis, size: 56, space: 30, values: (_, splits) => splits.map(unit) },
    ],
    series: [
      {},
      ...lines.map(({ colour: name, dashed }) => ({
        stroke: colour(name),
        width: 1.5,
        points: { show: false },
        ...(dashed ? { dash: [4, 3] } : {}),
      })),
    ],
  };
}

/** A gateway that has just begun has no hour to show; less than five minutes would be a line that jumps. */
function firstKnown(data: uPlot.AlignedData, last: number): number {
  const [times, ...columns] = data;
  const at = times.findIndex((_, nth) => columns.some((column) => column[nth] != null));
  return Math.min(times[at] ?? last, last - 300);
}

function clockTime(seconds: number): string {
  const at = new Date(seconds * 1_000);
  return `${at.getHours()}`.padStart(2, "0") + ":" + `${at.getMinutes()}`.padStart(2, "0");
}
