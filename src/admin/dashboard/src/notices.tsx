// What came of what somebody did here, and what has just become bad: shown at the foot of the page until dismissed,
// and said to screen readers once. Numbers that move are not said; that would never end.
import { Store, useStore } from "./store";

const KEPT = 4;
const GOOD_NEWS_MS = 12_000;

interface Notice {
  id: number;
  good: boolean;
  text: string;
}

const notices = new Store<readonly Notice[]>([]);
let next = 1;

export function tell(text: string, good: boolean): void {
  const notice = { id: next++, good, text };
  notices.set([...notices.value, notice].slice(-KEPT));
  if (good) window.setTimeout(() => dismiss(notice.id), GOOD_NEWS_MS);
}

function dismiss(id: number): void {
  notices.set(notices.value.filter((notice) => notice.id !== id));
}

export function Notices() {
  const shown = useStore(notices, (all) => all);
  return (
    <div class="notices" role="log" aria-live="polite" aria-label="What happened on this page">
      {shown.map(({ id, good, text }) => (
        <p key={id} class={good ? "notice good" : "notice bad"}>
          <span>
            <span aria-hidden="true">{good ? "✓ " : "▲ "}</span>
            {text}
          </span>
          <button type="button" class="quiet" onClick={() => dismiss(id)} aria-label="Dismiss">
            ✕
          </button>
        </p>
      ))}
    </div>
  );
}
