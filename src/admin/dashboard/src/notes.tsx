// What the gateway itself has to say, a line each: why it is degraded or not ready, what runs instead of the file, who
// broke the glass. What is grave stands above everything; the rest below the upstreams. Times are said as people say
// them, and what is meant for a terminal is left to the terminal.
import type { ComponentChildren } from "preact";
import { Ago, span } from "./clock";
import { Help, type Trouble } from "./help";
import { snapshot } from "./live";
import { MARK, rank, type Level } from "./severity";
import type { Rollout } from "./shapes";
import { useStore } from "./store";
import { Word } from "./words";

interface Kind {
  /** How the gateway's sentence reads. */
  like: RegExp;
  level: Level;
  trouble: Trouble;
}

/** Which sentences are how grave, and where the runbook has them; what is not here is worth a look. */
const KINDS: Kind[] = [
  { like: /^core \d+ is stuck/, level: "broken", trouble: "stuck core" },
  { like: /^starting|^draining/, level: "broken", trouble: "not ready" },
  { like: /^degraded: /, level: "bad", trouble: "degraded" },
  { like: /^core \d+ does not keep up/, level: "bad", trouble: "late core" },
  { like: /the certificate .* expired at /, level: "bad", trouble: "expired" },
  { like: /certificate files are not used/, level: "warn", trouble: "certificate" },
  { like: /^the last change was refused/, level: "warn", trouble: "refused" },
  { like: /^the file is not what runs/, level: "warn", trouble: "degraded" },
  { like: /waits for (a second person|somebody)/, level: "warn", trouble: "waits" },
  { like: /history and audit are not being recorded/, level: "warn", trouble: "history" },
  { like: / froze changes of /, level: "warn", trouble: "frozen" },
];

/** Sentences that are said elsewhere on the page, with what may be done. */
const ELSEWHERE = [/broke the glass at /, /unless somebody confirms it/, /drafted incidents? waits? for/];

export function Notes({ grave = false }: { grave?: boolean }) {
  const reasons = useStore(snapshot, (now) => now?.status.reasons ?? NONE);
  const rollout = useStore(snapshot, (now) => now?.rollout ?? null);
  const said = reasons.filter((reason) => !ELSEWHERE.some((like) => like.test(reason)));
  const shown = said.filter((reason) => rank(levelOf(reason)) <= rank("bad") === grave);
  const { break_glass = null, unconfirmed = null } = (grave ? null : rollout) ?? {};
  if (shown.length === 0 && break_glass === null && unconfirmed === null) return null;
  return (
    <ul class="notes" aria-label={grave ? "What is wrong with the gateway" : "What the gateway says"}>
      {unconfirmed !== null && <Unconfirmed {...unconfirmed} />}
      {break_glass !== null && <Glass {...break_glass} />}
      {shown.map((reason) => (
        <Note key={reason} level={levelOf(reason)} trouble={kindOf(reason)?.trouble}>
          <Sentence text={reason} />
        </Note>
      ))}
    </ul>
  );
}

const NONE: string[] = [];

function kindOf(reason: string): Kind | undefined {
  return KINDS.find(({ like }) => like.test(reason));
}

function levelOf(reason: string): Level {
  return kindOf(reason)?.level ?? "warn";
}

function Note({ level, trouble, children }: { level: Level; trouble?: Trouble | undefined; children: ComponentChildren }) {
  return (
    <li class="note">
      <span class={`state ${level}`} aria-hidden="true">
        {MARK[level]}
      </span>
      {children}
      {trouble !== undefined && <Help trouble={trouble} />}
    </li>
  );
}

function Glass({ number, by, reason, at }: NonNullable<Rollout["break_glass"]>) {
  return (
    <Note level="warn" trouble="glass">
      <span>
        {by} broke the glass with version {number}, <Ago at={at} />: {reason}
      </span>
      <Word word="acknowledge" number={number} />
    </Note>
  );
}

function Unconfirmed({ number, seconds_left }: NonNullable<Rollout["unconfirmed"]>) {
  return (
    <Note level="warn" trouble="waits">
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
  if (at === undefined) return <span>{plain}</span>;
  return (
    <span title={text}>
      {before.replace(/ at $/, " ")}
      <Ago at={at} />
      {after}
    </span>
  );
}
