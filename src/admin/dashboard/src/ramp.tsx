// A ramp: a slider with what will be shed at its value before it is applied, and who set it, why, since when. The
// forecast is asked for while the slider moves; nothing acts before "Apply".
import { useEffect, useState } from "preact/hooks";
import { Ago, span } from "./clock";
import { Button } from "./dialog";
import { Form, text } from "./form";
import { tell } from "./notices";
import { change, forbidden, get, Problem, session } from "./session";
import type { Forecast, Lever } from "./shapes";
import { useStore } from "./store";
import { count, percent, rate } from "./units";

/** The slider rests so long before a forecast is asked for. */
const REST_MS = 150;

interface Props {
  /** `v1/upstreams/orders` or `v1/upstreams/orders/backends/a`. */
  path: string;
  /** `orders/a`. */
  name: string;
  percent: number;
  lever: Lever | null;
  automatic: Lever | null;
}

export function Ramp({ path, name, percent: acting, lever, automatic }: Props) {
  const [draft, setDraft] = useState<number | null>(null);
  const why_not = useStore(session, ({ caller }) => forbidden(caller));
  const wanted = draft ?? acting;
  const isMoved = draft !== null && draft !== acting;
  return (
    <div class="ramp">
      <label class="slider">
        <span class="sr-only">Ramp of {name}, percent</span>
        <input
          type="range"
          min="0"
          max="100"
          step="1"
          value={wanted}
          disabled={why_not !== null}
          title={why_not ?? undefined}
          aria-description={why_not ?? undefined}
          aria-valuetext={percent(wanted)}
          onInput={(event) => setDraft(event.currentTarget.valueAsNumber)}
        />
        <output>{percent(wanted)}</output>
      </label>
      {isMoved ? (
        <Draft path={path} name={name} wanted={wanted} close={() => setDraft(null)} />
      ) : (
        <>
          {lever !== null && <Set path={path} name={name} lever={lever} why_not={why_not} />}
          {automatic !== null && <Set path={path} name={name} lever={automatic} why_not={why_not} />}
        </>
      )}
    </div>
  );
}

/** A value that does not act yet. */
function Draft({ path, name, wanted, close }: { path: string; name: string; wanted: number; close: () => void }) {
  const apply = async (given: FormData) => {
    const then = text(given, "then");
    const next = then === "" ? {} : { then: 100, after: then };
    await change("PUT", `${path}/ramp`, { percent: wanted, reason: text(given, "reason"), ...next });
    tell(`The ramp of ${name} is ${percent(wanted)}.`, true);
    close();
  };
  return (
    <Form class="draft" confirm={`Apply ${percent(wanted)}`} leave={{ label: "Leave it", press: close }} act={apply}>
      <ForecastOf path={path} wanted={wanted} />
      <input name="reason" placeholder="Why (goes into the audit)" aria-label={`Reason for the ramp of ${name}`} maxLength={500} autocomplete="off" />
      <select name="then" aria-label={`What the ramp of ${name} does then`}>
        <option value="">and stay there</option>
        {["1m", "5m", "10m", "30m"].map((after) => (
          <option key={after} value={after}>
            then 100 % after {after.replace("m", " min")}
          </option>
        ))}
      </select>
    </Form>
  );
}

function ForecastOf({ path, wanted }: { path: string; wanted: number }) {
  const [said, setSaid] = useState<{ at: number; text: string; hurts: boolean } | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    const say = (text: string, hurts = false) => setSaid({ at: wanted, text, hurts });
    const look = window.setTimeout(() => {
      get<Forecast | { forecast: Forecast }>(`${path}/ramp:forecast?percent=${wanted}`, abort.signal).then(
        (answer) => {
          const forecast = "forecast" in answer ? answer.forecast : answer;
          say(foretold(forecast), forecast.shed_percent > 0);
        },
        (error: unknown) => {
          if (abort.signal.aborted) return;
          const absent = error instanceof Problem && error.status === 404;
          say(absent ? "This gateway makes no forecast." : `No forecast: ${(error as Error).message}`);
        },
      );
    }, REST_MS);
    return () => {
      window.clearTimeout(look);
      abort.abort();
    };
  }, [path, wanted]);
  const isNow = said?.at === wanted;
  return (
    <p class={isNow && said.hurts ? "forecast hurts" : "forecast"} aria-live="polite">
      {isNow ? `At ${percent(wanted)}: ${said.text}` : "…"}
    </p>
  );
}

function foretold({ demand_in_flight, room, offered_per_second, shed_percent }: Forecast): string {
  const asked = `${rate(offered_per_second)} asked for, ${count(demand_in_flight)} in flight`;
  const may = room === null ? "" : `, ${room} may be`;
  const shed = shed_percent > 0 ? `${percent(shed_percent)} will be shed` : "nothing will be shed";
  return `${shed} (${asked}${may})`;
}

/** What acts: by whom, why, since when, and what comes next. */
function Set({ path, name, lever, why_not }: { path: string; name: string; lever: Lever; why_not: string | null }) {
  const word = async (method: "POST" | "DELETE", suffix: string, done: string) => {
    try {
      await change(method, `${path}/ramp${suffix}`);
      tell(`The ramp of ${name} ${done}.`, true);
    } catch (refused) {
      tell(`The ramp of ${name}: ${(refused as Error).message}`, false);
    }
  };
  const { then, forecast } = lever;
  return (
    <p class="lever">
      <span>
        {lever.kind === "automatic" ? "Coming back by itself" : `Set to ${percent(lever.percent)}`}
        {lever.by !== "" && <> by <bdi>{lever.by}</bdi></>}
        {lever.since !== "" && (
          <>
            , <Ago at={lever.since} />
          </>
        )}
        {lever.reason !== "" && <>: <bdi>{lever.reason}</bdi></>}
        {then !== null && (then.paused ? `. Paused before ${percent(then.percent)}` : `. ${percent(then.percent)} in ${span(then.in_seconds)}`)}
        {forecast !== null && forecast.shed_percent > 0 && <strong class="hurts"> Sheds about {percent(forecast.shed_percent)}.</strong>}
      </span>
      <span class="buttons">
        {then !== null && !then.paused && (
          <Button label="Pause" name={`Pause the ramp of ${name}`} why_not={why_not} press={() => void word("POST", ":pause", "is paused")} />
        )}
        {then !== null && then.paused && (
          <Button label="Resume" name={`Resume the ramp of ${name}`} why_not={why_not} press={() => void word("POST", ":resume", "goes on")} />
        )}
        <Button label="Clear" name={`Clear the ramp of ${name}`} why_not={why_not} press={() => void word("DELETE", "", "is taken away")} />
      </span>
    </p>
  );
}
