// The one screen: what is happening, to whom, since when, and what may be done.
import { useEffect, useState } from "preact/hooks";
import { Alarms } from "./alarms";
import { Events } from "./events";
import { Incidents } from "./incidents";
import { lost, snapshot, start, stop } from "./live";
import { Notes } from "./notes";
import { Notices } from "./notices";
import { Permits } from "./permits";
import { RolloutPanel } from "./rollout";
import { session, signIn } from "./session";
import { judge, judgeGateway } from "./severity";
import type { Snapshot } from "./shapes";
import { SignIn } from "./signin";
import { About, ConnectionLost, StatusBar } from "./statusbar";
import { useStore } from "./store";
import { Upstreams } from "./upstreams";
import { Workers } from "./workers";

export function App() {
  const locked = useStore(session, ({ locked }) => locked);
  const [isAsked, setAsked] = useState(false);
  useEffect(() => {
    // One question before all others: who has no token that is known is refused once, and not by each stream. Any
    // other trouble shows in the bar of the streams.
    void signIn(session.value.token)
      .catch(() => undefined)
      .finally(() => setAsked(true));
  }, []);
  if (locked) return <SignIn />;
  return isAsked ? <Screen /> : <p class="hint">Waiting for the gateway…</p>;
}

function Screen() {
  useEffect(() => {
    start();
    return stop;
  }, []);
  const isLost = useStore(lost, (gone) => gone !== null);
  const isKnown = useStore(snapshot, (now) => now !== null);
  const title = useStore(snapshot, titleOf);
  useEffect(() => void (document.title = isLost ? "✖ connection lost · Tidegate" : title), [isLost, title]);
  return (
    <>
      <StatusBar />
      <ConnectionLost />
      <main class={isLost ? "screen old" : "screen"}>
        {isKnown ? <Panels /> : !isLost && <p class="hint">Waiting for the gateway…</p>}
      </main>
      <Alarms />
      <Notices />
    </>
  );
}

function Panels() {
  return (
    <>
      <div class="wide">
        <Notes grave />
        <Upstreams />
        <Notes />
        <Incidents />
      </div>
      <div class="side">
        <RolloutPanel />
        <Events />
        <Permits />
        <Workers />
        <About />
      </div>
    </>
  );
}

/** For the tab: how bad it is, without looking. */
function titleOf(now: Snapshot | null): string {
  if (now === null) return "Tidegate";
  const whole = judgeGateway(now);
  const bad = now.upstreams.filter((row) => ["broken", "bad"].includes(judge(row).level)).length;
  if (whole.level !== "fine") return `▲ ${whole.word} · Tidegate`;
  return bad > 0 ? `▲ ${bad} shedding or down · Tidegate` : "● Tidegate";
}
