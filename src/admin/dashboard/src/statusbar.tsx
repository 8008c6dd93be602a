// The bar on top: how the gateway is, what runs, what is open, who looks, and the way back.
import { clock, Ago, span, timeOfDay } from "./clock";
import { incidents } from "./incident_list";
import { lost, snapshot, tryNow } from "./live";
import { Rollback } from "./rollback";
import { judgeGateway, judgeUpstreams, MARK, rank } from "./severity";
import type { Incident, Snapshot } from "./shapes";
import { Who } from "./signin";
import { useStore } from "./store";
import { rate } from "./units";

export function StatusBar() {
  const now = useStore(snapshot, (now) => now);
  const isLost = useStore(lost, (gone) => gone !== null);
  return (
    <header class={isLost ? "bar old" : "bar"}>
      <div class="told">
        <h1>Tidegate</h1>
        {isLost && (
          <span class="state broken">
            <span aria-hidden="true">✖ </span>not known
          </span>
        )}
        {now !== null && !isLost && <State now={now} />}
        {now !== null && <Running now={now} />}
        {now !== null && <Totals now={now} />}
      </div>
      <Who />
      <Rollback />
    </header>
  );
}

/** What has no room in the bar of a phone. */
export function About() {
  const now = useStore(snapshot, (now) => now);
  return (
    <p class="about">
      {now !== null && <Running now={now} />}
      {now !== null && <Totals now={now} />}
      <Who />
    </p>
  );
}

const NONE: Incident[] = [];

/** The gateway and its upstreams, what is worse first; then what people have opened. */
function State({ now }: { now: Snapshot }) {
  const open = useStore(incidents, (list) => list?.filter(({ state }) => state === "open") ?? NONE);
  const frozen = open.some(({ freeze }) => freeze);
  const whole = judgeGateway(now);
  const hurt = judgeUpstreams(now.upstreams);
  const judged = hurt === null ? [whole] : whole.level === "fine" ? [hurt] : [hurt, whole];
  judged.sort((a, b) => rank(a.level) - rank(b.level));
  return (
    <>
      {judged.map(({ level, word, why }) => (
        <span key={word} class={`state ${level}`} title={why}>
          <span aria-hidden="true">{MARK[level]} </span>
          {word}
        </span>
      ))}
      {open.length > 0 && (
        <a class="state bad" href="#incidents">
          <span aria-hidden="true">▲ </span>
          {open.length} <span class="spare">open </span>
          {open.length === 1 ? "incident" : "incidents"}
        </a>
      )}
      {frozen && (
        <span class="state warn" title="An open incident holds back risky changes; rollback, abort, ramps and drains act">
          <span aria-hidden="true">◆ </span>frozen
        </span>
      )}
    </>
  );
}

function Running({ now }: { now: Snapshot }) {
  const { version } = now.status;
  const { rollout } = now;
  const next = rollout?.version ?? null;
  const about = `${version.hash}\n${version.by ?? version.cause}${version.reason === null ? "" : `\n${version.reason}`}`;
  return (
    <span class="running" title={about}>
      version <strong>{version.number}</strong> since <Ago at={version.since} bare />
      {rollout !== null && next !== null && (
        <>
          {" "}
          <a href="#rollout">
            → {next.number} {rollout.state.replace("_", " ")}
            {rollout.share_percent > 0 && ` ${rollout.share_percent} %`}
          </a>
        </>
      )}
    </span>
  );
}

function Totals({ now }: { now: Snapshot }) {
  const sum = (pick: (row: Snapshot["upstreams"][number]) => number | null) =>
    now.upstreams.reduce((total, row) => total + (pick(row) ?? 0), 0);
  const shed = sum((row) => row.shed_per_second);
  return (
    <span class="totals">
      <span>
        {now.status.in_flight}/{now.status.max_in_flight} in flight
      </span>
      <span>{rate(sum((row) => row.requests_per_second))} requests</span>
      <span class={shed > 0 ? "hurts" : ""}>{rate(shed)} shed</span>
    </span>
  );
}

/** Says that what is shown is old, since when, and what is done about it. */
export function ConnectionLost() {
  const gone = useStore(lost, (gone) => gone);
  if (gone === null) return null;
  return (
    <div class="lost">
      <span role="alert">
        <span aria-hidden="true">✖ </span>
        <strong>Connection lost at {timeOfDay(gone.since)}.</strong> What you see is from then. {gone.why}
      </span>
      <Again at={gone.again} />
      <button type="button" onClick={tryNow}>
        Try now
      </button>
    </div>
  );
}

function Again({ at }: { at: number | null }) {
  const left = useStore(clock, (now) => (at === null ? null : Math.max(0, Math.ceil((at - now) / 1_000))));
  return <span aria-hidden="true">{left === null ? "" : left === 0 ? "Trying… " : `Trying again in ${span(left)}. `}</span>;
}
