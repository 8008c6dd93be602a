// The incidents as the gateway keeps them: asked for when the page begins, when an event says that one changed, after
// what was done here, and now and then in case an event was missed.
import { get, Problem } from "./session";
import type { Incident } from "./shapes";
import { Store } from "./store";

const NOW_AND_THEN_MS = 30_000;

/** Null where the gateway keeps none. */
export const incidents = new Store<readonly Incident[] | null>(null);

let timer: number | undefined;
let isWatched = false;

/** Looks now, and from then on until `stopLooking`. */
export async function lookAtIncidents(): Promise<void> {
  isWatched = true;
  try {
    const { items } = await get<{ items: Incident[] }>("v1/incidents");
    incidents.set(items);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) {
      incidents.set(null);
      isWatched = false;
    }
  }
  window.clearTimeout(timer);
  if (isWatched) timer = window.setTimeout(() => void lookAtIncidents(), NOW_AND_THEN_MS);
}

/** Whoever has no token is not shown what was, and nothing is asked for. */
export function stopLooking(): void {
  isWatched = false;
  window.clearTimeout(timer);
}
