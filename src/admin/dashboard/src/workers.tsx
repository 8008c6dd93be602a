// The cores: how late each one is, and whether it still turns.
import { Chart, type Drawn } from "./chart";
import { GATEWAY } from "./history";
import { snapshot } from "./live";
import { MARK, type Level } from "./severity";
import type { Worker } from "./shapes";
import { useStore } from "./store";
import { count, seconds } from "./units";

/** A core this late makes every request on it this late. */
const LATE_SECONDS = 0.05;

const LAG: Drawn[] = [{ name: "worker.lag_seconds", label: "worst core", colour: "blue" }];

export function Workers() {
  const workers = useStore(snapshot, (now) => now?.workers ?? []);
  return (
    <section class="panel" aria-labelledby="workers">
      <div class="head">
        <h2 id="workers">Workers</h2>
        <span class="hint">lag: how late a core comes to its work</span>
      </div>
      <table>
        <thead>
          <tr>
            <th scope="col">Core</th>
            <th scope="col">State</th>
            <th scope="col" class="number">
              Lag
            </th>
            <th scope="col" class="number">
              Connections
            </th>
          </tr>
        </thead>
        <tbody>
          {workers.map((worker, at) => (
            <Line key={worker.worker ?? at} worker={worker} at={worker.worker ?? at} />
          ))}
        </tbody>
      </table>
      <Chart upstream={GATEWAY} title="Lag, the last hour" lines={LAG} unit={seconds} small />
    </section>
  );
}

function Line({ worker, at }: { worker: Worker; at: number }) {
  const { level, word } = stateOf(worker);
  return (
    <tr>
      <th scope="row">{at}</th>
      <td class={`state ${level}`}>
        <span aria-hidden="true">{MARK[level]} </span>
        {word}
      </td>
      <td class="number">{seconds(worker.lag_seconds)}</td>
      <td class="number">{count(worker.connections)}</td>
    </tr>
  );
}

function stateOf({ stuck, closed_classes = [], lag_seconds }: Worker): { level: Level; word: string } {
  if (stuck) return { level: "broken", word: "stuck" };
  if (closed_classes.length > 0) return { level: "bad", word: `refuses ${closed_classes.join(", ")}` };
  if (lag_seconds >= LATE_SECONDS) return { level: "warn", word: "late" };
  return { level: "fine", word: "turning" };
}
