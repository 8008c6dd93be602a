// Server-sent events over fetch: EventSource cannot send an Authorization header. Comes again by itself with growing
// pauses, and lets go while nobody looks at the page: a browser has six connections to a host, and tabs in the
// background must not hold those that the tab in front needs for a rollback.
import { ask, Problem, session } from "./session";

/** Without a byte for so long the connection counts as lost (the API sends a comment every 15 s). */
const SILENCE_MS = 20_000;
const PAUSES_MS = [500, 1_000, 2_000, 4_000, 8_000];
/** How long a hidden page keeps its streams. */
const HIDDEN_MS = 10_000;

export interface Told {
  id: string;
  event: string;
  data: string;
}

export interface Listener {
  hear(told: Told): void;
  /** It is open. */
  open?(): void;
  /** It ended, why, and when it is tried again (null: not while things are as they are). */
  lost?(why: Problem, againInMs: number | null): void;
}

/** One stream that is kept open; `path` is asked for anew at each try. */
export class Stream {
  readonly #path: () => string;
  readonly #listener: Listener;
  #abort = new AbortController();
  #timer: number | undefined;
  #hiding: number | undefined;
  #tries = 0;
  #running = false;
  /** Nothing is open, nor being opened. */
  #idle = true;

  constructor(path: () => string, listener: Listener) {
    this.#path = path;
    this.#listener = listener;
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  start(): void {
    this.#running = true;
    this.again();
  }

  stop(): void {
    this.#running = false;
    this.#end();
  }

  /** Ends what is open and opens it at once. */
  again(): void {
    if (!this.#running) return;
    this.#end();
    void this.#run(this.#abort);
  }

  #end(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#idle = true;
    window.clearTimeout(this.#timer);
  }

  #visibility(): void {
    window.clearTimeout(this.#hiding);
    if (!this.#running) return;
    if (document.hidden) this.#hiding = window.setTimeout(() => this.#end(), HIDDEN_MS);
    else if (this.#idle) this.again();
  }

  async #run(abort: AbortController): Promise<void> {
    this.#idle = false;
    let why: Problem;
    try {
      await this.#listen(abort);
      why = new Problem(0, "The gateway closed the stream.");
    } catch (error) {
      why = error instanceof Problem ? error : new Problem(0, "The connection broke off.");
    }
    if (this.#abort !== abort) return;
    this.#idle = true;
    if (!this.#running || session.value.locked) return;
    // A path that is not there will not come; who may not read asks in vain.
    if (why.status === 404 || why.status === 403) return this.#listener.lost?.(why, null);
    // A stream that ends is opened again at once; only when that fails too is the connection lost.
    const isFirst = this.#tries === 0;
    const pause = PAUSES_MS[Math.min(this.#tries, PAUSES_MS.length - 1)] ?? 8_000;
    this.#tries += 1;
    const again = pause * (0.75 + Math.random() / 2);
    if (!isFirst || why.status !== 0) this.#listener.lost?.(why, again);
    this.#timer = window.setTimeout(() => this.again(), again);
  }

  async #listen(abort: AbortController): Promise<void> {
    const headers = { accept: "text/event-stream" };
    let watch = window.setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const response = await ask(this.#path(), { headers, signal: abort.signal });
      if (response.body === null) return;
      this.#listener.open?.();
      const parser = new Parser((told) => {
        this.#tries = 0;
        this.#listener.hear(told);
      });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        window.clearTimeout(watch);
        watch = window.setTimeout(() => abort.abort(), SILENCE_MS);
        parser.take(value);
      }
    } finally {
      window.clearTimeout(watch);
    }
  }
}

/** The lines of a stream of events, put together. */
export class Parser {
  readonly #hear: (told: Told) => void;
  #rest = "";
  #told: Told = { id: "", event: "message", data: "" };

  constructor(hear: (told: Told) => void) {
    this.#hear = hear;
  }

  take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  #line(line: string): void {
    if (line === "") {
      const told = this.#told;
      this.#told = { id: told.id, event: "message", data: "" };
      if (told.data !== "") this.#hear(told);
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") this.#told.data += (this.#told.data === "" ? "" : "\n") + value;
    if (field === "event") this.#told.event = value;
    if (field === "id") this.#told.id = value;
  }
}
