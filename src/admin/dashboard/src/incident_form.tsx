// The words of an incident: opened by a person, or updated. What is public appears on the status page as it is typed
// here, so that is a choice of its own.
import { useEffect, useRef, useState } from "preact/hooks";
import { lookAtIncidents } from "./incident_list";
import { snapshot } from "./live";
import { tell } from "./notices";
import { change } from "./session";
import type { Incident } from "./shapes";
import { useStore } from "./store";

export function IncidentForm({ incident, close }: { incident: Incident | null; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const upstreams = useStore(snapshot, (now) => now?.upstreams ?? null);
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const isDraft = incident?.state === "draft";
  useEffect(() => dialog.current?.showModal(), []);

  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy) return;
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? "").trim();
    const said = {
      title: text("title"),
      severity: text("severity"),
      upstreams: form.getAll("upstreams").map(String),
      text: text("text"),
      public: form.has("public"),
      freeze: form.has("freeze"),
    };
    setBusy(true);
    setError(null);
    try {
      tell(incident === null ? await open(said) : await update(incident, said), true);
      dialog.current?.close();
    } catch (refused) {
      setError((refused as Error).message);
      setBusy(false);
    }
  };

  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="incident-title">
      <form onSubmit={submit}>
        <h2 id="incident-title">{incident === null ? "Open an incident" : `Incident ${incident.id}`}</h2>
        {isDraft && (
          <p class="hint">The gateway drafted this{incident.drafted_because !== null && <>: {incident.drafted_because}</>}. Nobody has seen it yet.</p>
        )}
        <label class="field">
          Title
          <input name="title" required maxLength={120} autofocus defaultValue={incident?.title ?? ""} autocomplete="off" />
        </label>
        <label class="field">
          Severity
          <select name="severity" defaultValue={incident?.severity ?? "major"}>
            {["minor", "major", "critical"].map((each) => (
              <option key={each} value={each} selected={each === (incident?.severity ?? "major")}>
                {each}
              </option>
            ))}
          </select>
        </label>
        <fieldset class="choices">
          <legend>Upstreams</legend>
          {(upstreams ?? []).map(({ name }) => (
            <label key={name}>
              <input type="checkbox" name="upstreams" value={name} defaultChecked={incident?.upstreams.includes(name) ?? false} />
              <span>{name}</span>
            </label>
          ))}
        </fieldset>
        <label class="field">
          {incident === null ? "What is known" : "What is new"}
          <textarea name="text" rows={3} maxLength={1000} required={incident === null || isDraft} />
        </label>
        <fieldset class="choices">
          <legend>Effects</legend>
          <label>
            <input type="checkbox" name="public" defaultChecked={isDraft || (incident?.public ?? true)} />
            <span>Public: title and text appear on the status page</span>
          </label>
          <label>
            <input type="checkbox" name="freeze" defaultChecked={incident?.freeze ?? false} />
            <span>Freeze: risky changes wait; rollback, abort, ramps and drains act</span>
          </label>
        </fieldset>
        {error !== null && (
          <p class="refused" role="alert">
            <span aria-hidden="true">▲ </span>
            {error}
          </p>
        )}
        <p class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" class="primary" aria-busy={busy}>
            {incident === null ? "Open it" : isDraft ? "Publish it" : "Save"}
          </button>
        </p>
      </form>
    </dialog>
  );
}

interface Said {
  title: string;
  severity: string;
  upstreams: string[];
  text: string;
  public: boolean;
  freeze: boolean;
}

async function open(said: Said): Promise<string> {
  const { id } = await change<Incident>("POST", "v1/incidents", said);
  await lookAtIncidents();
  return `Incident ${id} is open.`;
}

/** What was looked at and nothing else: if somebody changed it meanwhile, the gateway refuses and says so. */
async function update({ id, state, revision }: Incident, { text, ...rest }: Said): Promise<string> {
  const published = state === "draft" ? { state: "open" } : {};
  await change("PUT", `v1/incidents/${id}`, { ...rest, ...published, ...(text === "" ? {} : { text }) }, revision);
  await lookAtIncidents();
  return state === "draft" ? `Incident ${id} is open.` : `Incident ${id} is updated.`;
}
