// What the gateway says each second, and the events, as the page knows them: newest snapshot, since when the
// connection is lost, and the last events in a bounded list.
import { clock, setGatewayTime } from "./clock";
import { History } from "./history";
import { lookAtIncidents, stopLooking } from "./incident_list";
import { Problem } from "./session";
import type { Event, Snapshot } from "./shapes";
import { Store } from "./store";
import { Stream, type Told } from "./stream";

/** A snapshot comes each second; without one for so long the page is no longer live. */
const STALE_MS = 4_000;

export interface Lost {
  /** Our clock, ms. */
  since: number;
  why: string;
  /** Our clock, ms; null if it is not tried again. */
  again: number | null;
}

export const snapshot = new Store<Snapshot | null>(null);
export const lost = new Store<Lost | null>(null);
/** The upstream whose backends the page shows. */
export const chosen = new Store<string | null>(null);
export const history = new History();

let heard = Date.now();

const live = new Stream(
  () => (chosen.value === null ? "v1/live" : `v1/live?upstream=${encodeURIComponent(chosen.value)}`),
  { hear: hearSnapshot, lost: (why, again) => lose(why, again) },
);

function hearSnapshot(told: Told): void {
  if (told.event !== "snapshot") return;
  const next = JSON.parse(told.data) as Snapshot;
  heard = Date.now();
  setGatewayTime(next.at);
  const gap = lost.value !== null || snapshot.value === null;
  snapshot.set(next);
  if (chosen.value !== null && next.upstreams.every(({ name }) => name !== chosen.value)) choose(null);
  if (lost.value !== null) lost.set(null);
  history.add(next, gap);
}

function lose(why: Problem, again: number | null): void {
  // The upstream that was looked at is gone, say after a rollback; the rest is there.
  if (why.status === 404 && chosen.value !== null) return choose(null);
  const since = lost.value?.since ?? heard;
  lost.set({ since, why: why.message, again: again === null ? null : Date.now() + again });
}

// A page that nobody looked at had let go of its stream; it is not lost before it was tried.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) heard = Date.now();
});

clock.watch(() => {
  if (document.hidden || lost.value !== null || Date.now() - heard < STALE_MS || snapshot.value === null) return;
  lost.set({ since: heard, why: "The gateway has said nothing since.", again: null });
});

/** Shows the backends of this upstream, or of none. */
export function choose(upstream: string | null): void {
  if (upstream === chosen.value) return;
  chosen.set(upstream);
  live.again();
}

export function tryNow(): void {
  live.again();
  happenings.again();
}

// Events.

const MAX_EVENTS = 500;

export interface Happening extends Event {
  /** How often it was said in a row. */
  times: number;
  /** When it was said last; `at` is the first time. */
  last: string;
}

export const events = new Store<readonly Happening[]>([]);
let lastEvent = 0;

const happenings = new Stream(() => `v1/events?after=${lastEvent}`, { hear: hearEvent });
let waiting: Happening[] = [];

function hearEvent(told: Told): void {
  const event = JSON.parse(told.data) as Event;
  lastEvent = Math.max(lastEvent, event.id);
  if (event.kind === "incident") void lookAtIncidents();
  if (waiting.length === 0) queueMicrotask(showEvents);
  waiting.push({ ...event, times: 1, last: event.at });
}

/** Newest first. What is said again within a minute of the last time is one line with a count. */
function showEvents(): void {
  const kept = [...events.value];
  for (const event of waiting) {
    const same = kept.slice(0, 12).findIndex((old) => old.kind === event.kind && old.message === event.message);
    const old = kept[same];
    if (old !== undefined && Date.parse(event.at) - Date.parse(old.last) < 60_000) {
      kept.splice(same, 1);
      kept.unshift({ ...event, at: old.at, times: old.times + 1 });
    } else {
      kept.unshift(event);
    }
  }
  waiting = [];
  events.set(kept.slice(0, MAX_EVENTS));
}

export function start(): void {
  heard = Date.now();
  live.start();
  happenings.start();
  void lookAtIncidents();
}

export function stop(): void {
  live.stop();
  happenings.stop();
  stopLooking();
}
