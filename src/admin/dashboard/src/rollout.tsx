// The change under way: how far it is, what its guard sees, what it waits for, and the words that people say to it.
import { Ago, span } from "./clock";
import { Asking } from "./dialog";
import { snapshot } from "./live";
import { change, forbidden, session } from "./session";
import type { Guard, Rollout, Side } from "./shapes";
import { useStore } from "./store";
import { count, percent, seconds } from "./units";

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
  const { version, guard, last, break_glass, unconfirmed, pending_file } = rollout;
  return (
    <>
      {version !== null && <Underway rollout={rollout} />}
      {guard !== null && <Guarded guard={guard} />}
      <Words rollout={rollout} />
      {unconfirmed !== null && (
        <p class="state warn">
          <span aria-hidden="true">◆ </span>Version {unconfirmed.number} goes back in {span(unconfirmed.seconds_left)} unless somebody confirms it.
        </p>
      )}
      {break_glass !== null && (
        <p class="state warn">
          <span aria-hidden="true">◆ </span>
          {break_glass.by} broke the glass with version {break_glass.number}, <Ago at={break_glass.at} />: {break_glass.reason}
        </p>
      )}
      {pending_file !== null && <p>A changed file waits for its turn ({pending_file.hash.slice(0, 12)}).</p>}
      {last !== null && (
        <p class="quiet-text">
          Last: version {last.number} {last.outcome.replace("_", " ")}
          {last.why !== "" && `: ${last.why}`}
        </p>
      )}
    </>
  );
}

function Underway({ rollout }: { rollout: Rollout }) {
  const { version, stages_percent, share_percent, realised_share_percent, per_request, waiting, needs_person } = rollout;
  if (version === null) return null;
  return (
    <>
      <p>
        <strong>Version {version.number}</strong> ({version.risk} risk) by {version.by ?? "the file"}
        {version.reason !== null && <>: {version.reason}</>}
        {version.approved_by !== null && <>, approved by {version.approved_by}</>}
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
          {waiting}
        </p>
      )}
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
function Words({ rollout }: { rollout: Rollout }) {
  const caller = useStore(session, ({ caller }) => caller);
  const why_not = forbidden(caller);
  const { version, state, unconfirmed, break_glass } = rollout;
  const say = (word: string, number: number) => async (reason: string) => {
    const body = { version: number, ...(reason === "" ? {} : { reason }) };
    return (await change<{ told: string }>("POST", `v1/rollout:${word}`, body)).told;
  };
  const shared = { why_not, reason: "Why (goes into the audit)" };
  const isAuthor = version !== null && version.by === caller?.name;
  return (
    <p class="buttons">
      {version !== null && state === "approval" && (
        <Asking
          {...shared}
          label="Approve"
          title={`Approve version ${version.number}`}
          confirm="Approve it"
          why_not={why_not ?? (isAuthor ? "Who made a change cannot approve it: a second person is needed." : null)}
          act={say("approve", version.number)}
        >
          <p>It was made by {version.by ?? "the file"} and begins its stages then.</p>
        </Asking>
      )}
      {version !== null && state === "rolling_out" && (
        <Asking {...shared} label="Promote" title={`Promote version ${version.number}`} confirm="Promote it" act={say("promote", version.number)}>
          <p>It goes to its next stage without waiting for more traffic. A failing guard still stops it.</p>
        </Asking>
      )}
      {version !== null && state !== "settling" && (
        <Asking {...shared} label="Abort" title={`Abort version ${version.number}`} confirm="Abort it" dangerous act={say("abort", version.number)}>
          <p>Everyone is served by the stable version at once.</p>
        </Asking>
      )}
      {unconfirmed !== null && (
        <Asking {...shared} label="Confirm" title={`Confirm version ${unconfirmed.number}`} confirm="Confirm it" act={say("confirm", unconfirmed.number)}>
          <p>It stays, and does not go back by itself any more.</p>
        </Asking>
      )}
      {break_glass !== null && (
        <Asking
          {...shared}
          label="Acknowledge"
          title={`Acknowledge version ${break_glass.number}`}
          confirm="I have seen it"
          act={say("acknowledge", break_glass.number)}
        >
          <p>It went around the stages; the notice goes away.</p>
        </Asking>
      )}
    </p>
  );
}
