// The backends of one upstream: state, what each holds against its cap, its ramp, and draining.
import { useRef } from "preact/hooks";
import { Ago } from "./clock";
import { Asking } from "./dialog";
import { Bar } from "./bar";
import { useStandingOrder } from "./order";
import { Ramp } from "./ramp";
import { change, forbidden, session } from "./session";
import { MARK, rank, type Level } from "./severity";
import type { Backend, Upstream } from "./shapes";
import { useStore } from "./store";
import { percent, seconds } from "./units";

export function Backends({ upstream }: { upstream: Upstream }) {
  const list = useRef<HTMLUListElement>(null);
  const sorted = [...upstream.backends].sort((a, b) => rank(levelOf(a)) - rank(levelOf(b)));
  const order = useStandingOrder({ first: sorted.map(({ name }) => name), rest: [] }, list).first;
  const byName = new Map(upstream.backends.map((backend) => [backend.name, backend]));
  return (
    <ul ref={list} class="backends" aria-label={`Backends of ${upstream.name}`}>
      {order.map((name) => {
        const backend = byName.get(name);
        return backend === undefined ? null : <OneBackend key={name} backend={backend} upstream={upstream} />;
      })}
    </ul>
  );
}

/** Draining on purpose is no failure. */
function levelOf(backend: Backend): Level {
  if (backend.drain !== null) return "warn";
  if (!backend.up || backend.state !== "ready") return "bad";
  return backend.ramp_percent < 100 ? "warn" : "fine";
}

function OneBackend({ backend, upstream }: { backend: Backend; upstream: Upstream }) {
  const { name, address, state, in_flight, cap, ewma_ms, reference } = backend;
  const path = `v1/upstreams/${encodeURIComponent(upstream.name)}/backends/${encodeURIComponent(name)}`;
  const level = levelOf(backend);
  return (
    <li class="backend">
      <p class="who-it-is">
        <strong><bdi>{name}</bdi></strong> <span class="quiet-text">{address}</span>
      </p>
      <p class={`state ${level}`}>
        <span aria-hidden="true">{MARK[level]} </span>
        {state === "ready" && backend.ramp_percent < 100 ? `ready, ${percent(backend.ramp_percent)}` : state}
      </p>
      <p class="holds">
        <Bar value={in_flight} limit={cap} what={`in flight at ${name}`} />
        <span title={`Reference when well: ${reference.in_flight} in flight (${reference.source})`}>
          {in_flight}/{cap} in flight
        </span>
        <span>{seconds(ewma_ms === null ? null : ewma_ms / 1_000)}</span>
        {backend.incarnations > 0 && <span>restarted {backend.incarnations}×</span>}
      </p>
      {backend.drain === null && (
        <Ramp path={path} name={`${upstream.name}/${name}`} percent={backend.ramp_percent} lever={backend.ramp} automatic={backend.automatic} />
      )}
      <Drain backend={backend} upstream={upstream} path={path} />
    </li>
  );
}

function Drain({ backend, upstream, path }: { backend: Backend; upstream: Upstream; path: string }) {
  const why_not = useStore(session, ({ caller }) => forbidden(caller));
  const { name, drain } = backend;
  const full = `${upstream.name}/${name}`;
  const set = async (state: "drain" | "ready", reason: string) => {
    await change("PUT", `${path}/state`, { state, reason });
    return state === "drain" ? `${full} is being drained.` : `${full} takes requests again.`;
  };
  if (drain !== null) {
    return (
      <p class="lever">
        <span>
          Drained by <bdi>{drain.by}</bdi>, <Ago at={drain.since} />
          {drain.reason !== "" && <>: <bdi>{drain.reason}</bdi></>}
        </span>
        <Asking
          label="Bring back"
          name={`Bring back ${full}`}
          title={`Bring ${full} back`}
          confirm="Bring it back"
          reason="Why (goes into the audit)"
          why_not={why_not}
          act={(reason) => set("ready", reason)}
        >
          <p>It takes requests again at once.</p>
        </Asking>
      </p>
    );
  }
  const others = upstream.backends.filter((other) => other !== backend && other.up && other.state === "ready");
  return (
    <Asking
      label="Drain"
      name={`Drain ${full}`}
      title={`Drain ${full}`}
      confirm="Drain it"
      dangerous
      reason="Why (goes into the audit)"
      why_not={why_not}
      act={(reason) => set("drain", reason)}
    >
      <p>
        It gets no new requests; the {backend.in_flight} in flight end.{" "}
        {others.length === 0 ? (
          <strong class="hurts">No other backend of {upstream.name} is ready: everything for it will be refused.</strong>
        ) : (
          `${others.length} of ${upstream.backends.length} backends stay ready.`
        )}
      </p>
    </Asking>
  );
}
