// Since when an upstream is in trouble, as far as the last hour and the events know.
import { Ago, clock, span } from "./clock";
import { events, history, type Happening } from "./live";
import { useStore } from "./store";

const HOUR = 3_600;

export function SheddingFor({ upstream }: { upstream: string }) {
  useStore(history.changed, (steps) => steps);
  const lasting = history.lasting(upstream, "upstream.shed_per_second");
  const more = useStore(clock, (now) => Math.max(0, Math.floor((now - history.heard) / 1_000)));
  if (lasting === null || history.heard === 0) return null;
  return <span class="lasting">for {lasting >= HOUR - 5 ? "an hour or more" : span(lasting + more)}</span>;
}

/** When the last of its backends went. */
export function GoneFor({ upstream }: { upstream: string }) {
  const at = useStore(events, (all) => all.find((event) => isLoss(event) && event.upstream === upstream)?.last ?? null);
  if (at === null) return null;
  return (
    <span class="lasting">
      for <Ago at={at} bare />
    </span>
  );
}

function isLoss({ kind, what }: Happening): boolean {
  return kind === "ejection" && (what === "down" || what === "ejected");
}
