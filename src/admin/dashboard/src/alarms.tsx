// What has just become bad, said once to screen readers: not the numbers, only the turn for the worse.
import { useEffect, useState } from "preact/hooks";
import { snapshot } from "./live";
import { judge, judgeGateway, rank, type Level } from "./severity";
import type { Snapshot } from "./shapes";

const BAD = rank("bad");
/** What turned bad so lately is not said again when it flickers. */
const QUIET_MS = 60_000;
/** Named one by one; of more only the number. */
const NAMED = 3;

export function Alarms() {
  const [said, setSaid] = useState("");
  useEffect(() => {
    const known = new Map<string, { level: Level; said: number }>();
    let isFirst = true;
    return snapshot.watch(() => {
      const now = snapshot.value;
      if (now === null) return;
      const news = turns(now, known);
      // How it was when the page was opened is read from the page.
      if (news.length > 0 && !isFirst) setSaid(sentence(news));
      isFirst = false;
    });
  }, []);
  return (
    <p class="sr-only" role="status">
      {said}
    </p>
  );
}

function turns(now: Snapshot, known: Map<string, { level: Level; said: number }>): string[] {
  const gateway = { name: "The gateway", ...judgeGateway(now) };
  const all = [gateway, ...now.upstreams.map((row) => ({ ...judge(row), name: row.name }))];
  return all.flatMap(({ name, level, word, why }) => {
    const before = known.get(name);
    const isWorse = rank(level) <= BAD && rank(level) < rank(before?.level ?? "fine");
    const isQuiet = before !== undefined && Date.now() - before.said < QUIET_MS;
    known.set(name, { level, said: isWorse && !isQuiet ? Date.now() : (before?.said ?? 0) });
    return isWorse && !isQuiet ? [`${name}: ${word}, ${why}.`] : [];
  });
}

function sentence(news: string[]): string {
  const rest = news.length - NAMED;
  return news.slice(0, NAMED).join(" ") + (rest > 0 ? ` And ${rest} more.` : "");
}
