// One upstream in full: why it is as it is, the last hour, its own ramp, and its backends.
import { Ago } from "./clock";
import { Backends } from "./backends";
import { Chart, type Drawn } from "./chart";
import { Help } from "./help";
import { snapshot } from "./live";
import { Ramp } from "./ramp";
import { judge } from "./severity";
import type { Row, Upstream } from "./shapes";
import { useStore } from "./store";
import { count, rate, seconds } from "./units";

const HELD: Drawn[] = [
  { name: "upstream.in_flight", label: "in flight", colour: "blue" },
  { name: "upstream.limit", label: "limit", colour: "quiet", dashed: true },
  { name: "upstream.queue", label: "waiting", colour: "amber" },
];
const FLOW: Drawn[] = [
  { name: "upstream.requests_per_second", label: "requests", colour: "blue" },
  { name: "upstream.shed_per_second", label: "shed", colour: "red" },
];
const LATENCY: Drawn[] = [
  { name: "upstream.latency_p50_seconds", label: "p50", colour: "blue" },
  { name: "upstream.latency_p99_seconds", label: "p99", colour: "amber" },
];

export function Detail({ row }: { row: Row }) {
  const upstream = useStore(snapshot, (now) => (now?.upstream?.name === row.name ? now.upstream : null));
  const { trouble } = judge(row);
  return (
    <div class="inside">
      {trouble !== undefined && <Help trouble={trouble} upstream={row.name} />}
      <Sheds row={row} />
      <div class="charts">
        <Chart upstream={row.name} title="In flight" lines={HELD} unit={count} />
        <Chart upstream={row.name} title="Per second" lines={FLOW} unit={rate} />
        <Chart upstream={row.name} title="Latency" lines={LATENCY} unit={seconds} />
      </div>
      {upstream === null ? <p class="hint">Waiting for its backends…</p> : <Inside upstream={upstream} />}
    </div>
  );
}

function Sheds({ row }: { row: Row }) {
  if (row.sheds.length === 0) return null;
  const sorted = [...row.sheds].sort((a, b) => b.per_second - a.per_second);
  return (
    <ul class="sheds" aria-label="Shed, by class and reason">
      {sorted.map((shed) => (
        <li key={`${shed.class} ${shed.reason}`}>
          <strong>{rate(shed.per_second)}</strong> {shed.class}: <code>{shed.reason}</code>
        </li>
      ))}
    </ul>
  );
}

function Inside({ upstream }: { upstream: Upstream }) {
  const path = `v1/upstreams/${encodeURIComponent(upstream.name)}`;
  return (
    <>
      <Facts upstream={upstream} />
      <h3>Ramp of the whole upstream</h3>
      <Ramp path={path} name={upstream.name} percent={upstream.ramp_percent} lever={upstream.ramp} automatic={null} />
      <h3>Backends</h3>
      <Backends upstream={upstream} />
    </>
  );
}

function Facts({ upstream }: { upstream: Upstream }) {
  const { adaptive, classes, zombies } = upstream;
  return (
    <ul class="facts">
      <li>
        Limit {upstream.limit} of at most {upstream.max_in_flight}
      </li>
      {classes.length > 1 && <li>Classes: {classes.map((each) => `${each.class} up to ${each.limit}`).join(", ")}</li>}
      {zombies > 0 && <li>{zombies} zombies: their clients are gone, the backend is still at it</li>}
      {adaptive !== null && (
        <li>
          Adaptive limit ({adaptive.mode}): {adaptive.limit}, objective {seconds(adaptive.objective_seconds)}
          {adaptive.last_move !== null && (
            <>
              ; from {adaptive.last_move.from} to {adaptive.last_move.to} <Ago at={adaptive.last_move.at} />: {adaptive.last_move.because}
            </>
          )}
        </li>
      )}
    </ul>
  );
}
