// Times as people say them. They count from the gateway's clock, so that a wrong clock at the reader's side does not
// move anything.
import { Store, useStore } from "./store";

/** Moves once a second. */
export const clock = new Store(Date.now());
window.setInterval(() => clock.set(Date.now()), 1_000);

/** Milliseconds that the gateway's clock is ahead of ours. */
let ahead = 0;

export function setGatewayTime(at: string): void {
  const theirs = Date.parse(at);
  if (Number.isFinite(theirs)) ahead = theirs - Date.now();
}

/** `3 s`, `12 min`, `5 h`, `3 d`. */
export function span(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 90) return `${whole} s`;
  if (whole < 90 * 60) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * 3_600) return `${Math.floor(whole / 3_600)} h`;
  return `${Math.floor(whole / 86_400)} d`;
}

function sinceSeconds(at: string | number): number {
  const then = typeof at === "number" ? at : Date.parse(at);
  return (clock.value + ahead - then) / 1_000;
}

/** What is less ahead than this is now: clocks are not that good. */
const SKEW = -5;

const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hour12: false });

/** Of the reader's day, `07:51:02`. */
export function timeOfDay(ms: number): string {
  return TIME.format(ms);
}

/** `12 s ago`, or `in 12 s`, with the absolute time on hover, in the reader's zone and in UTC. */
export function Ago({ at, bare = false }: { at: string | number; bare?: boolean }) {
  const seconds = useStore(clock, () => Math.floor(sinceSeconds(at)));
  const ms = typeof at === "number" ? at : Date.parse(at);
  if (!Number.isFinite(ms)) return null;
  const utc = new Date(ms).toISOString();
  return (
    <time dateTime={utc} title={`${DAY_AND_TIME.format(ms)} (${utc})`}>
      {seconds < SKEW ? `in ${span(-seconds)}` : span(seconds)}
      {bare || seconds < SKEW ? "" : " ago"}
    </time>
  );
}
