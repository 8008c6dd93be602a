// How badly something is off, as a word, a mark and a sentence: never by colour alone.
import { span } from "./clock";
import { troubleOf, type Trouble } from "./help";
import type { Row, Shed, Snapshot } from "./shapes";
import { percent, plural, rate } from "./units";

export type Level = "broken" | "bad" | "warn" | "fine";

export interface Judged {
  level: Level;
  word: string;
  why: string;
  /** Its chapter of the runbook. */
  trouble?: Trouble;
}

export const MARK: Record<Level, string> = { broken: "✖", bad: "▲", warn: "◆", fine: "●" };
const RANK: Record<Level, number> = { broken: 0, bad: 1, warn: 2, fine: 3 };

export function rank(level: Level): number {
  return RANK[level];
}

export function judge(row: Row): Judged {
  const { backends_ready: ready, backends_total: total, worst_state = "not known" } = row;
  const missing = total - ready;
  if (total > 0 && ready === 0) {
    return { level: "broken", word: "down", why: `no backend is ready; the worst is ${worst_state}`, trouble: "upstream down" };
  }
  if (row.silent_seconds !== null) return { level: "bad", word: "hangs", why: hangingWhy(row, row.silent_seconds), trouble: "hangs" };
  if (isShedding(row)) return { level: "bad", word: "shedding", why: sheddingWhy(row), trouble: troubleOf(mostly(row)?.reason) };
  if (row.ramp_percent < 100) {
    return { level: "warn", word: "ramped", why: `may carry ${percent(row.ramp_percent)} of what it held when well`, trouble: "ramped" };
  }
  if (missing > 0) {
    const why = `${plural(missing, "backend")} of ${total} not ready; the worst is ${worst_state}`;
    return { level: "warn", word: "reduced", why, trouble: 2 * missing >= total ? "half of backends" : "backend down" };
  }
  if (worst_state === "ramped") {
    return { level: "warn", word: "ramped", why: "some backends carry less than their share", trouble: "coming back" };
  }
  if (row.queue > 0) return { level: "warn", word: "queueing", why: `${plural(row.queue, "request")} waiting`, trouble: "queueing" };
  if (row.limit > 0 && row.in_flight >= 0.9 * row.limit) {
    return { level: "warn", word: "nearly full", why: `${row.in_flight} of ${row.limit} in flight`, trouble: "queueing" };
  }
  return { level: "fine", word: "fine", why: "within its limit, all backends ready" };
}

/** A second in which nothing is refused is not yet the end of it. */
export function isShedding(row: Row): boolean {
  return row.shedding_seconds !== null || (row.shed_per_second ?? 0) > 0;
}

/** What most is refused for. */
function mostly(row: Row): Shed | undefined {
  return [...row.sheds].sort((a, b) => b.per_second - a.per_second)[0];
}

function hangingWhy(row: Row, silent: number): string {
  const told = `nothing came back for ${span(silent)}, ${row.in_flight} of ${row.limit} held`;
  return isShedding(row) ? `${told}; ${refusals(row)}` : told;
}

function sheddingWhy(row: Row): string {
  return `${refusals(row)}, ${row.in_flight} of ${row.limit} in flight`;
}

function refusals(row: Row): string {
  const { shed_per_second: shed, requests_per_second: asked } = row;
  if (shed === 0) return "refused requests moments ago";
  const of = asked == null ? "" : ` of ${rate(asked)}`;
  const worst = mostly(row);
  const because = worst === undefined ? "" : `: ${worst.reason} (${worst.class})`;
  return `refuses ${rate(shed)}${of}${because}`;
}

/**
 * Of equally bad ones: what hangs comes first, then the larger part of what is refused, in steps so coarse that they
 * seldom change.
 */
export function step(row: Row): number {
  if (row.silent_seconds !== null) return -5;
  const asked = row.requests_per_second ?? 0;
  const part = asked > 0 ? Math.min(1, (row.shed_per_second ?? 0) / asked) : 0;
  return -Math.ceil(part * 4);
}

/** All upstreams in one: how many are in which trouble; null when none is. */
export function judgeUpstreams(rows: Row[]): Judged | null {
  const counts = new Map<string, { level: Level; names: string[] }>();
  for (const row of rows) {
    const { level, word } = judge(row);
    if (rank(level) > RANK.bad) continue;
    const known = counts.get(word) ?? { level, names: [] };
    known.names.push(row.name);
    counts.set(word, known);
  }
  const worst = [...counts].sort(([, a], [, b]) => rank(a.level) - rank(b.level));
  const first = worst[0];
  if (first === undefined) return null;
  const word = worst.map(([word, { names }]) => `${names.length} ${word}`).join(", ");
  return { level: first[1].level, word, why: worst.map(([word, { names }]) => `${word}: ${names.join(", ")}`).join("\n") };
}

/** The gateway as a whole; the worst comes first. */
export function judgeGateway({ status, rollout, workers }: Snapshot): Judged {
  const reasons = status.reasons.join("; ");
  if (!status.ready && !status.draining) return { level: "broken", word: "not ready", why: reasons || "starting" };
  if (workers.some((worker) => worker.stuck)) return { level: "broken", word: "stuck core", why: reasons };
  if (status.draining) return { level: "bad", word: "draining", why: "takes no new connections and ends soon" };
  if (status.degraded) return { level: "bad", word: "degraded", why: reasons };
  if (rollout?.break_glass) return { level: "warn", word: "glass broken", why: glassWhy(rollout.break_glass) };
  return { level: "fine", word: "ready", why: reasons || "serving as configured" };
}

function glassWhy(glass: { number: number; by: string; reason: string }): string {
  return `version ${glass.number} went around the stages\n${glass.by}: ${glass.reason}`;
}
