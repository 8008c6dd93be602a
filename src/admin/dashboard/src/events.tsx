// What happened, newest first, as it happens; by kind if wanted.
import { useState } from "preact/hooks";
import { Ago } from "./clock";
import { events, type Happening } from "./live";
import { useStore } from "./store";

/** Lines at a time. */
const SHOWN = 60;

export function Events() {
  const all = useStore(events, (list) => list);
  const [kind, setKind] = useState("");
  const [more, setMore] = useState(false);
  const kinds = [...new Set(all.map((event) => event.kind))].sort();
  const wanted = all.filter((event) => kind === "" || event.kind === kind);
  return (
    <section class="panel" aria-labelledby="events">
      <div class="head">
        <h2 id="events">Events</h2>
        <select aria-label="Kind of events" value={kind} onChange={(event) => setKind(event.currentTarget.value)}>
          <option value="">all kinds</option>
          {kinds.map((each) => (
            <option key={each} value={each}>
              {each}
            </option>
          ))}
        </select>
      </div>
      <ol class="events" tabIndex={0} aria-labelledby="events">
        {wanted.slice(0, more ? all.length : SHOWN).map((event) => (
          <Line key={event.id} event={event} />
        ))}
      </ol>
      {wanted.length === 0 && <p class="hint">Nothing yet.</p>}
      {!more && wanted.length > SHOWN && (
        <button type="button" class="quiet" onClick={() => setMore(true)}>
          {wanted.length - SHOWN} more
        </button>
      )}
    </section>
  );
}

function Line({ event }: { event: Happening }) {
  return (
    <li>
      <span class="kind">{event.kind}</span> <bdi>{event.message}</bdi>
      {event.times > 1 && <b> ×{event.times}</b>}{" "}
      <span class="quiet-text">
        <Ago at={event.last} />
      </span>
    </li>
  );
}
