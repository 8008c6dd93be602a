// Who holds the slots: by upstream, route, class and phase, and by client.
import { snapshot } from "./live";
import { useStore } from "./store";
import { count, plural, seconds } from "./units";

const SHOWN = 12;

export function Permits() {
  const permits = useStore(snapshot, (now) => now?.permits ?? null);
  if (permits === null) return null;
  const held = [...permits.summary].sort((a, b) => b.count - a.count || b.oldest_seconds - a.oldest_seconds);
  return (
    <section class="panel" aria-labelledby="permits">
      <div class="head">
        <h2 id="permits">Who holds the permits</h2>
        <span class="hint">{count(permits.total)} held</span>
      </div>
      {held.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Route</th>
              <th scope="col">Phase</th>
              <th scope="col" class="number">
                Held
              </th>
              <th scope="col" class="number">
                Oldest
              </th>
            </tr>
          </thead>
          <tbody>
            {held.slice(0, SHOWN).map((each) => (
              <tr key={`${each.upstream} ${each.route} ${each.class} ${each.phase}`}>
                <th scope="row">
                  {each.route} <span class="quiet-text">({each.class}, {each.upstream})</span>
                </th>
                <td>{each.phase.replaceAll("_", " ")}</td>
                <td class="number">{count(each.count)}</td>
                <td class="number">{seconds(each.oldest_seconds)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {(held.length > SHOWN || permits.truncated) && <p class="hint">All of them are at /v1/permits.</p>}
      {(permits.unanswered?.length ?? 0) > 0 && (
        <p class="state warn">
          <span aria-hidden="true">◆ </span>
          {plural(permits.unanswered?.length ?? 0, "core")} did not answer: what it holds is not in here
        </p>
      )}
      <Clients />
    </section>
  );
}

function Clients() {
  const clients = useStore(snapshot, (now) => now?.permits?.clients ?? null);
  if (clients === null || clients.length === 0) return null;
  return (
    <p class="quiet-text">
      Most held by{" "}
      {clients.slice(0, 5).map(({ client, count: held }) => `${client} (${held})`).join(", ")}
    </p>
  );
}
