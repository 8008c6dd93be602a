// What the gateway itself has to say, a line each: why it is degraded or not ready, what runs instead of the file, who
// broke the glass. What is grave stands above everything; the rest below the upstreams. Times are said as people say
// them, and what is meant for a terminal is left to the terminal.
import type { ComponentChildren } from "preact";
import { Ago, span } from "./clock";
import kinds from "./conditions.json";
import { Help, type Trouble } from "./help";
import { snapshot } from "./live";
import { MARK, rank, type Level } from "./severity";
import type { Condition, Rollout } from "./shapes";
import { useStore } from "./store";
import { Word } from "./words";

interface Kind {
  /** How grave it is; `elsewhere`: the page says it with what may be done. */
  level: Level | "elsewhere";
  /** Where the runbook has it. */
  trouble?: Trouble;
}

/** What is not in the list is worth a look. */
const UNKNOWN: Kind = { level: "warn" };

export function Notes({ grave = false }: { grave?: boolean }) {
  const conditions = useStore(snapshot, (now) => now?.status.conditions ?? NONE);
  const rollout = useStore(snapshot, (now) => now?.rollout ?? null);
  const shown = conditions.filter(({ kind }) => isShown(kind, grave));
  const { break_glass = null, unconfirmed = null } = (grave ? null : rollout) ?? {};
  if (shown.length === 0 && break_glass === null && unconfirmed === null) return null;
  return (
    <ul class="notes" aria-label={grave ? "What is wrong with the gateway" : "What the gateway says"}>
      {unconfirmed !== null && <Unconfirmed {...unconfirmed} />}
      {break_glass !== null && <Glass {...break_glass} />}
      {shown.map(({ kind, text }) => (
        <Note key={text} kind={kindOf(kind)}>
          <Sentence text={text} />
        </Note>
      ))}
    </ul>
  );
}

const NONE: Condition[] = [];

function kindOf(kind: string): Kind {
  return (kinds as Record<string, Kind>)[kind] ?? UNKNOWN;
}

function isShown(kind: string, grave: boolean): boolean {
  const { level } = kindOf(kind);
  return level !== "elsewhere" && rank(level) <= rank("bad") === grave;
}

function Note({ kind: { level, trouble }, children }: { kind: Kind; children: ComponentChildren }) {
  const shown = level === "elsewhere" ? "warn" : level;
  return (
    <li class="note">
      <span class={`state ${shown}`} aria-hidden="true">
        {MARK[shown]}
      </span>
      {children}
      {trouble !== undefined && <Help trouble={trouble} />}
    </li>
  );
}

function Glass({ number, by, reason, at }: NonNullable<Rollout["break_glass"]>) {
  return (
    <Note kind={{ level: "warn", trouble: "glass" }}>
      <span>
        <bdi>{by}</bdi> broke the glass with version {number}, <Ago at={at} />: <bdi>{reason}</bdi>
      </span>
      <Word word="acknowledge" number={number} />
    </Note>
  );
}

function Unconfirmed({ number, seconds_left }: NonNullable<Rollout["unconfirmed"]>) {
  return (
    <Note kind={{ level: "warn", trouble: "waits" }}>
      <span>
        Version {number} goes back in {span(seconds_left)} unless somebody confirms it
      </span>
      <Word word="confirm" number={number} />
    </Note>
  );
}

const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/;

/** The gateway's sentence, but `12 s ago` for a time and nothing for a command. */
function Sentence({ text }: { text: string }) {
  const plain = text.replace(/[;:,]? *`tidegate [^`]*`( when seen| ends it)?/g, "").replaceAll("`", "");
  const [before = "", after] = plain.split(TIME, 2);
  const at = TIME.exec(plain)?.[0];
  if (at === undefined) return <bdi>{plain}</bdi>;
  return (
    <span title={text}>
      <bdi>{before.replace(/ at $/, " ")}</bdi>
      <Ago at={at} />
      <bdi>{after}</bdi>
    </span>
  );
}
