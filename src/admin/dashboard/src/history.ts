// The last hour of what is drawn, by name and upstream. The past comes from the gateway when it is first looked at
// and after a lost connection; what follows is added from the snapshots, a point every five seconds.
import { ask, get } from "./session";
import type { Row, Series, Snapshot } from "./shapes";
import { Store } from "./store";

const STEP_MS = 5_000;
const POINTS = 720;
/** Without a snapshot for so long, points are missing: the page was in the background, or a clock jumped. */
const MISSED_MS = 4 * STEP_MS;

/** Oldest first; the last one is of `at`. */
export interface Line {
  values: (number | null)[];
}

type Lines = Map<string, Line>;

const ROW_NAMES = {
  "upstream.in_flight": (row: Row) => row.in_flight,
  "upstream.limit": (row: Row) => row.limit,
  "upstream.queue": (row: Row) => row.queue,
  "upstream.requests_per_second": (row: Row) => row.requests_per_second,
  "upstream.shed_per_second": (row: Row) => row.shed_per_second,
  "upstream.latency_p50_seconds": (row: Row) => row.latency_p50_seconds,
  "upstream.latency_p99_seconds": (row: Row) => row.latency_p99_seconds,
};

/** Lines of the gateway itself stand under no upstream. */
export const GATEWAY = "";

const GATEWAY_NAMES = {
  "worker.lag_seconds": ({ workers }: Snapshot) => Math.max(0, ...workers.map(({ lag_seconds }) => lag_seconds)),
};

export type LineName = keyof typeof ROW_NAMES | keyof typeof GATEWAY_NAMES;

export class History {
  /** Counts up when points were added. */
  readonly changed = new Store(0);
  readonly #lines: Lines = new Map();
  readonly #asked = new Set<string>();
  readonly #wanted: string[] = [];
  #asking = false;
  #steps = 0;
  /** When the last point was added, ms of the gateway's clock. */
  at = 0;

  /** The points of one upstream; asks for its past the first time. */
  of(upstream: string, name: LineName): (number | null)[] {
    if (!this.#asked.has(upstream)) {
      this.#asked.add(upstream);
      this.#wanted.push(upstream);
      void this.#ask();
    }
    return this.#lines.get(key(upstream, name))?.values ?? [];
  }

  /** Adds what a snapshot says, if it is time for a point; after a gap the past is asked for again. */
  add(snapshot: Snapshot, isBack: boolean): void {
    const now = Date.parse(snapshot.at);
    const gap = isBack || now - this.at > MISSED_MS || now < this.at;
    if (gap) {
      this.#asked.clear();
      this.#lines.clear();
    }
    if (!gap && now - this.at < STEP_MS) return;
    this.at = now;
    this.#steps += 1;
    for (const row of snapshot.upstreams) {
      for (const [name, value] of Object.entries(ROW_NAMES)) this.#add(key(row.name, name), value(row));
    }
    for (const [name, value] of Object.entries(GATEWAY_NAMES)) this.#add(key(GATEWAY, name), value(snapshot));
    this.changed.set(this.#steps);
  }

  #add(key: string, value: number | null): void {
    const line = this.#lines.get(key) ?? { values: [] };
    line.values.push(value);
    if (line.values.length > POINTS) line.values.shift();
    this.#lines.set(key, line);
  }

  /** One after the other, so that a large fleet does not ask for everything at once. */
  async #ask(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    for (let upstream = this.#wanted.shift(); upstream !== undefined; upstream = this.#wanted.shift()) {
      try {
        this.#take(upstream, upstream === GATEWAY ? await ofGateway() : await get<Series>(`v1/series?upstream=${encodeURIComponent(upstream)}`));
      } catch {
        // The lines begin now instead; whether the gateway answers at all is told elsewhere.
      }
    }
    this.#asking = false;
  }

  #take(upstream: string, past: Series): void {
    for (const { name, upstream: of = GATEWAY, values } of past.series) {
      if (of === upstream && past.step_seconds * 1_000 === STEP_MS) {
        this.#lines.set(key(upstream, name), { values: values.slice(-POINTS) });
      }
    }
    this.changed.set(this.changed.value + 1);
  }
}

/** The gateway's own lines come first; those of all upstreams, megabytes perhaps, are not waited for. */
async function ofGateway(): Promise<Series> {
  const abort = new AbortController();
  const late = window.setTimeout(() => abort.abort(), 10_000);
  try {
    const { body } = await ask("v1/series", { signal: abort.signal });
    const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
    let read = "";
    for (;;) {
      const { done = true, value = "" } = (await reader?.read()) ?? {};
      read += value;
      const end = read.indexOf(',{"name":"upstream.');
      if (end >= 0) return JSON.parse(`${read.slice(0, end)}]}`) as Series;
      if (done) return JSON.parse(read) as Series;
    }
  } finally {
    window.clearTimeout(late);
    abort.abort();
  }
}

function key(upstream: string, name: string): string {
  return `${name} ${upstream}`;
}

export { STEP_MS };
