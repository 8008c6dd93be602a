// The change under way: how far it is, what its guard sees, what it waits for, and what may be said to it.
import { span } from "./clock";
import { Help } from "./help";
import { snapshot } from "./live";
import type { Guard, Rollout, Side } from "./shapes";
import { useStore } from "./store";
import { count, percent, seconds } from "./units";
import { Word } from "./words";

export function RolloutPanel() {
  const rollout = useStore(snapshot, (now) => now?.rollout ?? null);
  return (
    <section class="panel" aria-labelledby="rollout">
      <div class="head">
        <h2 id="rollout">Rollout</h2>
        <span class="hint">{rollout === null || rollout.version === null ? "none under way" : rollout.state.replace("_", " ")}</span>
      </div>
      {rollout !== null && <Body rollout={rollout} />}
    </section>
  );
}

function Body({ rollout }: { rollout: Rollout }) {
  const { version, guard, last, pending_file } = rollout;
  return (
    <>
      {version !== null && <Underway rollout={rollout} />}
      {guard !== null && <Guarded guard={guard} />}
      {version !== null && <Words version={version} state={rollout.state} />}
      {pending_file !== null && <p>A changed file waits for its turn ({pending_file.hash.slice(0, 12)}).</p>}
      {last !== null && (
        <p class="quiet-text">
          Last: version {last.number} {last.outcome.replace("_", " ")}
          {last.why !== "" && <>: <bdi>{last.why}</bdi></>}
        </p>
      )}
      {last?.outcome === "reverted" && <Help trouble="reverted" />}
    </>
  );
}

function Underway({ rollout }: { rollout: Rollout }) {
  const { version, stages_percent, share_percent, realised_share_percent, per_request, waiting, needs_person } = rollout;
  if (version === null) return null;
  return (
    <>
      <p>
        <strong>Version {version.number}</strong> ({version.risk} risk) by <bdi>{version.by ?? "the file"}</bdi>
        {version.reason !== null && <>: <bdi>{version.reason}</bdi></>}
        {version.approved_by !== null && <>, approved by <bdi>{version.approved_by}</bdi></>}
      </p>
      {stages_percent.length > 0 && (
        <ol class="stages" aria-label="Stages">
          {stages_percent.map((stage) => {
            const isNow = stage === share_percent;
            return (
              <li key={stage} class={stage < share_percent ? "past" : isNow ? "now" : ""} aria-current={isNow ? "step" : undefined}>
                {percent(stage)}
              </li>
            );
          })}
        </ol>
      )}
      <p>
        Serves {percent(share_percent)} of {per_request ? "the requests" : "the clients"}
        {realised_share_percent !== null && `; ${percent(realised_share_percent)} of the requests lately`}
      </p>
      {waiting !== null && (
        <p class={needs_person ? "state warn" : ""}>
          {needs_person && <span aria-hidden="true">◆ </span>}
          {needs_person ? "Waits for a person: " : "Now: "}
          <bdi>{waiting}</bdi>
        </p>
      )}
      {needs_person && <Help trouble="waits" />}
    </>
  );
}

function Guarded({ guard }: { guard: Guard }) {
  const { candidate, stable, overdue, stage, stages, watched_seconds, bake_seconds, forecast_seconds } = guard;
  return (
    <>
      <table class="guard">
        <caption>
          Guard: stage {stage} of {stages}, watched {span(watched_seconds)} of {span(bake_seconds)}, done in about {span(forecast_seconds)}
        </caption>
        <thead>
          <tr>
            <th scope="col">Route</th>
            <th scope="col">Version</th>
            <th scope="col" class="number">
              Requests
            </th>
            <th scope="col" class="number">
              Failed
            </th>
            <th scope="col" class="number">
              p90
            </th>
          </tr>
        </thead>
        <Sides route="all" candidate={candidate} stable={stable} />
        {(guard.routes ?? []).map((each) => (
          <Sides key={each.route} {...each} />
        ))}
      </table>
      {overdue > 0 && <p class="hurts">{count(overdue)} of the new version are overdue and count as failed.</p>}
    </>
  );
}

interface Both {
  route: string;
  candidate: Side;
  stable: Side;
  candidate_p90_seconds?: number | null;
  stable_p90_seconds?: number | null;
}

function Sides({ route, candidate, stable, candidate_p90_seconds, stable_p90_seconds }: Both) {
  const isWorse = part(candidate) > part(stable);
  return (
    <tbody>
      <tr>
        <th scope="rowgroup" rowSpan={2}>
          {route}
        </th>
        <Cells version="new" side={candidate} p90={candidate_p90_seconds} look={isWorse ? "number hurts" : "number"} />
      </tr>
      <tr>
        <Cells version="stable" side={stable} p90={stable_p90_seconds} look="number" />
      </tr>
    </tbody>
  );
}

function Cells({ version, side, p90, look }: { version: string; side: Side; p90: number | null | undefined; look: string }) {
  return (
    <>
      <td>{version}</td>
      <td class="number">{count(side.requests)}</td>
      <td class={look}>
        {count(side.failed)} ({percent(side.requests > 0 ? 100 * part(side) : null)})
      </td>
      <td class="number">{p90 === undefined ? "" : seconds(p90)}</td>
    </>
  );
}

/** The failed part, 0 to 1. */
function part({ requests, failed }: Side): number {
  return requests > 0 ? failed / requests : 0;
}

/** What may be said to it now. */
function Words({ version, state }: { version: NonNullable<Rollout["version"]>; state: string }) {
  const { number, by } = version;
  return (
    <p class="buttons">
      {state === "approval" && <Word word="approve" number={number} by={by} />}
      {state === "rolling_out" && <Word word="promote" number={number} />}
      {state !== "settling" && <Word word="abort" number={number} />}
    </p>
  );
}
