// Since when an upstream sheds, as far as the last hour knows.
import { clock, span } from "./clock";
import { history } from "./live";
import { useStore } from "./store";

const HOUR = 3_600;

export function SheddingFor({ upstream }: { upstream: string }) {
  useStore(history.changed, (steps) => steps);
  const lasting = history.lasting(upstream, "upstream.shed_per_second");
  const more = useStore(clock, (now) => Math.max(0, Math.floor((now - history.heard) / 1_000)));
  if (lasting === null || history.heard === 0) return null;
  return <span class="because">for {lasting >= HOUR - 5 ? "an hour or more" : span(lasting + more)}</span>;
}
