// What the gateway itself has to say: why it is degraded or not ready, what runs instead of the file, which core is late.
import { snapshot } from "./live";
import { useStore } from "./store";

const NONE: string[] = [];

export function Reasons() {
  const reasons = useStore(snapshot, (now) => now?.status.reasons ?? NONE);
  if (reasons.length === 0) return null;
  return (
    <ul class="reasons" aria-label="What the gateway says">
      {reasons.map((reason) => (
        <li key={reason} class="state warn">
          <span aria-hidden="true">◆ </span>
          {reason}
        </li>
      ))}
    </ul>
  );
}
