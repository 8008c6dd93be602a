// What a trouble means and what to do, in the words of the runbook (deploy/RUNBOOK.md, put here by runbook.mjs), beside
// the trouble and folded until it is wanted.
import chapters from "./chapters.json";
import runbook from "./runbook.json";

export type Trouble = keyof typeof chapters;

/** The trouble of a reason to shed; what is new there is still shedding. */
export function troubleOf(reason: string | undefined): Trouble {
  return reason !== undefined && reason in chapters ? (reason as Trouble) : "upstream_limit";
}

const PARTS = [
  ["means", "It means"],
  ["look", "Look at"],
  ["do", "Do"],
  ["worry", "Worry"],
] as const;

/** `upstream` takes the place of the runbook's `ORDERS`. */
export function Help({ trouble, upstream }: { trouble: Trouble; upstream?: string }) {
  const name = chapters[trouble] as keyof typeof runbook;
  const chapter = runbook[name];
  return (
    <details class="help">
      <summary>What it means, what to do</summary>
      <dl>
        {PARTS.map(([part, title]) => (
          <div key={part}>
            <dt>{title}</dt>
            <dd>
              <Words text={upstream === undefined ? chapter[part] : chapter[part].replaceAll("ORDERS", upstream)} />
            </dd>
          </div>
        ))}
      </dl>
      <p class="hint">Runbook: {name}</p>
    </details>
  );
}

/** Text with `code` and *stress* in it. */
function Words({ text }: { text: string }) {
  return (
    <>
      {text.split(/(`[^`]*`|\*[^*]+\*)/).map((part, nth) => {
        if (part.startsWith("`")) return <code key={nth}>{part.slice(1, -1)}</code>;
        if (part.startsWith("*")) return <em key={nth}>{part.slice(1, -1)}</em>;
        return part;
      })}
    </>
  );
}
