// Incidents: what is open, what the gateway drafted and nobody has read yet, and the words for it.
import { useState } from "preact/hooks";
import { Ago } from "./clock";
import { Button } from "./dialog";
import { Help } from "./help";
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
  const open = incidents.filter(({ state }) => state === "open");
  const drafts = incidents.filter(({ state }) => state === "draft");
  return (
    <section class="panel" aria-labelledby="incidents">
      <div class="head">
        <h2 id="incidents">Incidents</h2>
        <span class="hint">{open.length === 0 ? "none open" : ""}</span>
        <Button label="Open an incident" why_not={why_not} press={() => setForm("new")} opens />
      </div>
      {open.map((incident) => (
        <Open key={incident.id} incident={incident} why_not={why_not} edit={() => setForm(incident)} />
      ))}
      {drafts.map((incident) => (
        <Draft key={incident.id} incident={incident} why_not={why_not} edit={() => setForm(incident)} />
      ))}
      {drafts.length > 0 && <Help trouble="drafted" />}
      {form !== null && <IncidentForm incident={form === "new" ? null : form} close={() => setForm(null)} />}
    </section>
  );
}

interface Props {
  incident: Incident;
  why_not: string | null;
  edit: () => void;
}

function Open({ incident, why_not, edit }: Props) {
  const { id, title, severity, upstreams, freeze, drafted_because, opened_at, opened_by, updates } = incident;
  const last = updates.at(-1);
  return (
    <article class="incident">
      <p>
        <span class="state bad">
          <span aria-hidden="true">▲ </span>
          {severity}
        </span>{" "}
        <strong>
          #{id} <bdi>{title}</bdi>
        </strong>
        {upstreams.length > 0 && (
          <span class="quiet-text">
            {" "}
            <bdi>{upstreams.join(", ")}</bdi>
          </span>
        )}
        {freeze && <span class="state warn"> ◆ freezes risky changes</span>}
      </p>
      <p class="quiet-text">
        Opened by <bdi>{opened_by}</bdi>, <Ago at={opened_at} />
        {drafted_because !== null && <>: <bdi>{drafted_because}</bdi></>}
      </p>
      {last !== undefined && (
        <p class="said">
          <bdi>{last.text}</bdi>{" "}
          <span class="quiet-text">
            (<bdi>{last.by}</bdi>, <Ago at={last.at} />
            {last.public ? "" : ", internal"})
          </span>
        </p>
      )}
      <p class="buttons">
        <Button label="Update" name={`Update incident ${id}`} why_not={why_not} press={edit} opens />
        <Button label="Close" name={`Close incident ${id}`} why_not={why_not} press={() => void end(incident)} />
      </p>
    </article>
  );
}

/** What the gateway wrote and nobody has read: small beside what people know of. */
function Draft({ incident, why_not, edit }: Props) {
  const { id, title, upstreams, drafted_because, opened_at } = incident;
  return (
    <article class="incident drafted">
      <p>
        <span class="state warn">
          <span aria-hidden="true">◆ </span>draft
        </span>{" "}
        #{id} <bdi>{title}</bdi>
        <span class="quiet-text">
          {" "}
          <bdi>{upstreams.join(", ")}</bdi> <Ago at={opened_at} />
          {drafted_because !== null && <>: <bdi>{drafted_because}</bdi></>}
        </span>
      </p>
      <p class="buttons">
        <Button label="Publish…" name={`Read and publish incident ${id}`} why_not={why_not} press={edit} opens />
        <Button label="Dismiss" name={`Dismiss incident ${id}`} why_not={why_not} press={() => void end(incident)} />
      </p>
    </article>
  );
}

async function end({ id, state, revision }: Incident): Promise<void> {
  try {
    await change("PUT", `v1/incidents/${id}`, { state: "closed" }, revision);
    await lookAtIncidents();
    tell(`Incident ${id} is ${state === "draft" ? "dismissed" : "closed"}.`, true);
  } catch (refused) {
    tell(`Incident ${id}: ${(refused as Error).message}`, false);
  }
}
