// Since when an upstream is in trouble, as the gateway and the events say.
import { Ago, span } from "./clock";
import { events, type Happening } from "./live";
import type { Row } from "./shapes";
import { useStore } from "./store";

/** For how long it hangs or sheds, whichever began first. */
export function TroubledFor({ row }: { row: Row }) {
  const lasting = Math.max(row.silent_seconds ?? -1, row.shedding_seconds ?? -1);
  return lasting < 0 ? null : <span class="lasting">for {span(lasting)}</span>;
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
