// The upstreams, worst first, a line each; the one that is opened shows its charts, its backends and its levers.
import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import { Bar } from "./bar";
import { Detail } from "./detail";
import { choose, chosen, snapshot } from "./live";
import { useStandingOrder, type Order } from "./order";
import { isShedding, judge, MARK, rank, step } from "./severity";
import type { Row } from "./shapes";
import { GoneFor, TroubledFor } from "./since";
import { Sparkline } from "./sparkline";
import { useStore } from "./store";
import { percent, plural, rate, seconds } from "./units";

/** From so many on there is a field to search by name. */
const MANY = 12;

/** So many that are well are one line while others are not. */
const FOLDED = 4;

export function Upstreams() {
  const rows = useStore(snapshot, (now) => now?.upstreams ?? NONE);
  const open = useStore(chosen, (name) => name);
  const [search, setSearch] = useState("");
  const [unfolded, setUnfolded] = useState(false);
  const list = useRef<HTMLTableElement>(null);
  const order = useStandingOrder(worstFirst(rows), list);
  const byName = new Map(rows.map((row) => [row.name, row]));
  const wanted = search.trim();
  const lines = (names: string[]) =>
    names.map((name) => {
      const row = byName.get(name);
      return row === undefined || !name.includes(wanted) ? null : <Line key={name} row={row} open={name === open} />;
    });
  const folds = order.first.length > 0 && order.rest.length >= FOLDED && wanted === "";
  const isFolded = folds && !unfolded;
  // What somebody has open stays where it is.
  const shown = isFolded ? order.rest.filter((name) => name === open) : order.rest;
  return (
    <section class="panel" aria-labelledby="upstreams">
      <div class="head">
        <h2 id="upstreams">Upstreams</h2>
        <span class="hint">{summary(rows)}</span>
        {rows.length >= MANY && (
          <input type="search" placeholder="Name" aria-label="Search upstreams by name" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        )}
      </div>
      <table role="table" class="upstreams" ref={list}>
        <thead role="rowgroup">
          <tr role="row">
            {["Upstream", "In flight", "Last hour", "Queue", "Asked", "Shed", "p50 / p99", "Ramp", "Backends"].map((title) => (
              <th key={title} role="columnheader" scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">{lines(order.first)}</tbody>
        {folds && (
          <tbody role="rowgroup">
            <tr role="row" class="fold">
              <td role="cell" colSpan={9}>
                <button type="button" class="quiet" aria-expanded={!isFolded} onClick={() => setUnfolded(isFolded)}>
                  <span class="state fine" aria-hidden="true">
                    {MARK.fine}
                  </span>{" "}
                  {plural(order.rest.length, "upstream is", "upstreams are")} well {isFolded ? "▸" : "▾"}
                </button>
              </td>
            </tr>
          </tbody>
        )}
        {shown.length > 0 && <tbody role="rowgroup">{lines(shown)}</tbody>}
      </table>
      {rows.length === 0 && <p class="hint">This configuration has no upstreams.</p>}
    </section>
  );
}

const NONE: Row[] = [];

/** Those in trouble, worst first; then those that are well. */
function worstFirst(rows: Row[]): Order {
  const judged = rows.map((row) => ({ name: row.name, at: rank(judge(row).level), step: step(row) }));
  judged.sort((a, b) => a.at - b.at || a.step - b.step || a.name.localeCompare(b.name));
  const names = (isWell: boolean) => judged.filter(({ at }) => (at === rank("fine")) === isWell).map(({ name }) => name);
  return { first: names(false), rest: names(true) };
}

function summary(rows: Row[]): string {
  const bad = rows.filter((row) => judge(row).level !== "fine").length;
  return bad === 0 ? `all ${rows.length} fine` : `${bad} of ${rows.length} not fine`;
}

/** Drawn again only when its numbers moved: a fleet has many lines, and most of them stand still. */
function Line({ row, open }: { row: Row; open: boolean }) {
  const drawn = useRef<{ key: string; tree: VNode } | null>(null);
  const key = JSON.stringify([open, row]);
  if (drawn.current?.key !== key) drawn.current = { key, tree: <Drawn row={row} open={open} /> };
  return drawn.current.tree;
}

function Drawn({ row, open }: { row: Row; open: boolean }) {
  const { level, word, why } = judge(row);
  const sheds = isShedding(row);
  const toggle = () => choose(open ? null : row.name);
  return (
    <>
      <tr role="row" class={open ? "line open" : "line"}>
        <th role="rowheader" scope="row">
          <span class="who-it-is">
            <button type="button" class="opener" aria-expanded={open} aria-controls={open ? "detail" : undefined} onClick={toggle}>
              <span class={`state ${level}`} title={why}>
                <span aria-hidden="true">{MARK[level]}</span> <span class="word">{word}</span>
              </span>
              <bdi class="name">{row.name}</bdi>
            </button>
            {level === "broken" ? <GoneFor upstream={row.name} /> : <TroubledFor row={row} />}
          </span>
          {level !== "fine" && <p class="because">{why}</p>}
        </th>
        <td role="cell" data-label="In flight">
          <span class="number">
            {row.in_flight}/{row.limit}
          </span>
          <Bar value={row.in_flight} limit={row.limit} what="in flight" />
        </td>
        <td role="cell" class="history">
          <Sparkline upstream={row.name} limit={row.limit} />
        </td>
        <td role="cell" data-label="Queue">
          {row.queue}/{row.max_waiting}
        </td>
        <td role="cell" data-label="Asked">
          {rate(row.requests_per_second)}
        </td>
        <td role="cell" data-label="Shed" class={sheds ? "hurts" : ""} title={shedTitle(row)}>
          {rate(row.shed_per_second)}
        </td>
        <td role="cell" data-label="p50 / p99">
          {seconds(row.latency_p50_seconds)} / {seconds(row.latency_p99_seconds)}
        </td>
        <td role="cell" data-label="Ramp" class={row.ramp_percent < 100 ? "" : "usual"}>{row.ramp_percent < 100 ? `◆ ${percent(row.ramp_percent)}` : percent(row.ramp_percent)}</td>
        <td role="cell" data-label="Backends" title={`The worst is ${row.worst_state ?? "not known"}`}>
          {row.backends_ready}/{row.backends_total} ready
        </td>
      </tr>
      {open && (
        <tr role="row" class="detail" id="detail">
          <td role="cell" colSpan={9}>
            <Detail row={row} />
          </td>
        </tr>
      )}
    </>
  );
}

function shedTitle(row: Row): string {
  if (row.sheds.length === 0) return "Nothing is shed";
  return row.sheds.map((shed) => `${rate(shed.per_second)} ${shed.class}: ${shed.reason}`).join("\n");
}
