// Rollback, from anywhere, in two clicks: the first opens the question, which names what comes back; the second does
// it. It asks for a version by number, so that two people who press it at once do not go back twice; where the
// history does not answer it asks without one, which cannot be refused.
import { useEffect, useState } from "preact/hooks";
import { Ago } from "./clock";
import { Button, Dialog } from "./dialog";
import { snapshot } from "./live";
import { change, forbidden, get, Problem, session } from "./session";
import type { Rollout, Version } from "./shapes";
import { useStore } from "./store";

const CHOICES = 8;

interface Answer {
  from: number;
  version: { number: number };
  persisted: boolean;
  notices: string[];
}

export function Rollback() {
  const [open, setOpen] = useState(false);
  const why_not = useStore(session, ({ caller }) => forbidden(caller));
  return (
    <>
      <Button label="Rollback" class="danger rollback" why_not={why_not} press={() => setOpen(true)} opens />
      {open && <Question close={() => setOpen(false)} />}
    </>
  );
}

function Question({ close }: { close: () => void }) {
  const [versions, setVersions] = useState<Version[] | "unknown" | null>(null);
  const [chosen, setChosen] = useState<number | "any" | null>(null);
  const active = useStore(snapshot, (now) => now?.status.version.number ?? null);
  const rollout = useStore(snapshot, (now) => now?.rollout ?? null);

  useEffect(() => {
    const abort = new AbortController();
    get<{ items: Version[] }>("v1/versions", abort.signal).then(
      ({ items }) => setVersions(items),
      () => setVersions("unknown"),
    );
    return () => abort.abort();
  }, []);

  const good = goodOnes(versions, active, rollout);
  const target = chosen === "any" ? null : (chosen ?? good[0]?.number ?? null);
  const act = async (reason: string) => {
    const body = { ...(target === null ? {} : { version: target }), ...(reason === "" ? {} : { reason }) };
    try {
      return done(await change<Answer>("POST", "v1/rollback", body));
    } catch (refused) {
      // That one cannot come back; the next click takes any that can.
      if (refused instanceof Problem && (refused.status === 404 || refused.status === 422)) setChosen("any");
      throw refused;
    }
  };

  return (
    <Dialog
      title="Roll back"
      confirm={target === null ? "Roll back now" : `Roll back to version ${target}`}
      dangerous
      reason="Why (goes into the audit)"
      act={act}
      close={close}
    >
      <p>{explanation(rollout, active, target)}</p>
      {Array.isArray(versions) && good.length === 0 && <p>The history knows no good version before it; if there is none, nothing changes.</p>}
      {good.length > 0 && (
        <fieldset class="choices">
          <legend>What comes back</legend>
          {good.slice(0, CHOICES).map((version) => (
            <label key={version.number}>
              <input
                type="radio"
                name="version"
                checked={version.number === target}
                onChange={() => setChosen(version.number)}
              />
              <span>
                <strong>Version {version.number}</strong> by <bdi>{version.author ?? "the file"}</bdi>, <Ago at={version.at_ms} />
                {version.reason !== null && <>: <bdi>{version.reason}</bdi></>}
              </span>
            </label>
          ))}
          <label>
            <input type="radio" name="version" checked={target === null} onChange={() => setChosen("any")} />
            <span>Whichever good version the gateway can bring back, newest first</span>
          </label>
        </fieldset>
      )}
      {versions === "unknown" && <p>The history does not answer; the gateway chooses the newest good version itself.</p>}
    </Dialog>
  );
}

/** Newest first: those that may come back. During a rollout the stable version is the first of them. */
function goodOnes(versions: Version[] | "unknown" | null, active: number | null, rollout: Rollout | null): Version[] {
  if (versions === null || versions === "unknown" || active === null) return [];
  const stays = isLive(rollout) ? versions.filter(({ number }) => number === active) : [];
  const older = versions.filter(({ number, outcome }) => number < active && outcome === "good");
  return [...stays, ...older.sort((a, b) => b.number - a.number)];
}

function isLive(rollout: Rollout | null): boolean {
  return rollout !== null && rollout.version !== null && rollout.state !== "none" && rollout.state !== "settling";
}

function explanation(rollout: Rollout | null, active: number | null, target: number | null): string {
  const now = active === null ? "What runs now" : `Version ${active}`;
  if (isLive(rollout) && target === active) {
    return `Ends the rollout of version ${rollout?.version?.number}; everyone is served by version ${active} at once.`;
  }
  const what = target === null ? "the newest good version before it" : `version ${target}`;
  return `${now} is replaced by ${what} for everyone, at once and without stages.`;
}

function done({ from, version, persisted, notices }: Answer): string {
  const what =
    from === version.number ? `Version ${version.number} was active already.` : `Version ${version.number} is back; ${from} is gone.`;
  const disk = persisted ? "" : " The disk does not have it yet: a restart may not know it.";
  return [what + disk, ...notices].join(" ");
}
