// How badly something is off, as a word, a mark and a sentence: never by colour alone.
import type { Row, Snapshot } from "./shapes";
import { percent, plural, rate } from "./units";

export type Level = "broken" | "bad" | "warn" | "fine";

export interface Judged {
  level: Level;
  word: string;
  why: string;
}

export const MARK: Record<Level, string> = { broken: "✖", bad: "▲", warn: "◆", fine: "●" };
const RANK: Record<Level, number> = { broken: 0, bad: 1, warn: 2, fine: 3 };

export function rank(level: Level): number {
  return RANK[level];
}

export function judge(row: Row): Judged {
  const { backends_ready: ready, backends_total: total } = row;
  const missing = total - ready;
  if (total > 0 && ready === 0) {
    return { level: "broken", word: "down", why: `no backend is ready; the worst is ${row.worst_state ?? "not known"}` };
  }
  const sheds = row.shed_per_second ?? 0;
  if (sheds > 0) return { level: "bad", word: "shedding", why: sheddingWhy(row) };
  if (row.ramp_percent < 100) {
    return { level: "warn", word: "ramped", why: `may carry ${percent(row.ramp_percent)} of what it held when well` };
  }
  if (missing > 0) return { level: "warn", word: "reduced", why: `${plural(missing, "backend")} of ${total} not ready; the worst is ${row.worst_state ?? "not known"}` };
  if (row.worst_state === "ramped") return { level: "warn", word: "ramped", why: "some backends carry less than their share" };
  if (row.queue > 0) return { level: "warn", word: "queueing", why: `${plural(row.queue, "request")} waiting` };
  if (row.limit > 0 && row.in_flight >= 0.9 * row.limit) {
    return { level: "warn", word: "nearly full", why: `${row.in_flight} of ${row.limit} in flight` };
  }
  return { level: "fine", word: "fine", why: "within its limit, all backends ready" };
}

function sheddingWhy(row: Row): string {
  const worst = [...row.sheds].sort((a, b) => b.per_second - a.per_second)[0];
  const because = worst === undefined ? "" : `: mostly ${worst.reason} (${worst.class})`;
  return `refuses ${rate(row.shed_per_second)}${because}`;
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
  return `${glass.by} took version ${glass.number} around the stages: ${glass.reason}`;
}
