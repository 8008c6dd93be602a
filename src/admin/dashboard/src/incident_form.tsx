// The words of an incident: opened by a person, or updated. What is public appears on the status page as it is typed
// here, so that is a choice of its own.
import { Dialog } from "./dialog";
import { text } from "./form";
import { lookAtIncidents } from "./incident_list";
import { snapshot } from "./live";
import { change } from "./session";
import type { Incident } from "./shapes";
import { useStore } from "./store";

export function IncidentForm({ incident, close }: { incident: Incident | null; close: () => void }) {
  const upstreams = useStore(snapshot, (now) => now?.upstreams ?? null);
  const isDraft = incident?.state === "draft";
  const act = (_: string, given: FormData) => {
    const said = {
      title: text(given, "title"),
      severity: text(given, "severity"),
      upstreams: given.getAll("upstreams").map(String),
      text: text(given, "text"),
      public: given.has("public"),
      freeze: given.has("freeze"),
    };
    return incident === null ? open(said) : update(incident, said);
  };
  const title = incident === null ? "Open an incident" : `Incident ${incident.id}`;
  return (
    <Dialog title={title} confirm={incident === null ? "Open it" : isDraft ? "Publish it" : "Save"} act={act} close={close}>
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
    </Dialog>
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
