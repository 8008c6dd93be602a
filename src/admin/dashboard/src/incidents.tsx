// Incidents: what is open, what the gateway drafted and nobody has read yet, and the words for it.
import { useState } from "preact/hooks";
import { Ago } from "./clock";
import { Button } from "./dialog";
import { IncidentForm } from "./incident_form";
import { incidents as list, lookAtIncidents } from "./incident_list";
import { tell } from "./notices";
import { change, forbidden, session } from "./session";
import type { Incident } from "./shapes";
import { useStore } from "./store";

export function Incidents() {
  const incidents = useStore(list, (known) => known);
  const why_not = useStore(session, ({ caller }) => forbidden(caller));
  const [form, setForm] = useState<"new" | Incident | null>(null);
  if (incidents === null) return <p class="hint">This gateway keeps no incidents.</p>;
  const shown = incidents.filter(({ state }) => state !== "closed");
  return (
    <section class="panel" aria-labelledby="incidents">
      <div class="head">
        <h2 id="incidents">Incidents</h2>
        <span class="hint">{shown.length === 0 ? "none open" : ""}</span>
        <Button label="Open an incident" why_not={why_not} press={() => setForm("new")} opens />
      </div>
      {shown.map((incident) => (
        <OneIncident key={incident.id} incident={incident} why_not={why_not} edit={() => setForm(incident)} />
      ))}
      {form !== null && <IncidentForm incident={form === "new" ? null : form} close={() => setForm(null)} />}
    </section>
  );
}

function OneIncident({ incident, why_not, edit }: { incident: Incident; why_not: string | null; edit: () => void }) {
  const { id, state, title, severity, upstreams, freeze, drafted_because, opened_at, opened_by, updates, revision } = incident;
  const last = updates.at(-1);
  const end = async () => {
    try {
      await change("PUT", `v1/incidents/${id}`, { state: "closed" }, revision);
      await lookAtIncidents();
      tell(`Incident ${id} is closed.`, true);
    } catch (refused) {
      tell(`Incident ${id}: ${(refused as Error).message}`, false);
    }
  };
  return (
    <article class={`incident ${state}`}>
      <p>
        <span class={state === "draft" ? "state warn" : "state bad"}>
          <span aria-hidden="true">{state === "draft" ? "◆" : "▲"} </span>
          {state === "draft" ? "draft, unpublished" : severity}
        </span>{" "}
        <strong>
          #{id} {title}
        </strong>
        {upstreams.length > 0 && <span class="quiet-text"> {upstreams.join(", ")}</span>}
        {freeze && <span class="state warn"> ◆ freezes risky changes</span>}
      </p>
      <p class="quiet-text">
        {state === "draft" ? "Drafted" : "Opened"} by {opened_by}, <Ago at={opened_at} />
        {drafted_because !== null && <>: {drafted_because}</>}
      </p>
      {last !== undefined && (
        <p class="said">
          {last.text}{" "}
          <span class="quiet-text">
            ({last.by}, <Ago at={last.at} />{last.public ? "" : ", internal"})
          </span>
        </p>
      )}
      <p class="buttons">
        <Button label={state === "draft" ? "Read and publish" : "Update"} name={`${state === "draft" ? "Read and publish" : "Update"} incident ${id}`} why_not={why_not} press={edit} opens />
        <Button
          label={state === "draft" ? "Dismiss" : "Close"}
          name={`${state === "draft" ? "Dismiss" : "Close"} incident ${id}`}
          why_not={why_not}
          press={() => void end()}
        />
      </p>
    </article>
  );
}
