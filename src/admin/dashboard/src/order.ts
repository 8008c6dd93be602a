// The order of a list whose worst comes first. It stands still while somebody uses it: nothing may move away under a
// finger that is about to press. Else it is made anew every few seconds at most, so that one can read it.
import type { RefObject } from "preact";
import { useRef } from "preact/hooks";

const IDLE_MS = 10_000;
/** Between two orders of a list that nobody uses. */
const REST_MS = 5_000;

let lastInput = 0;
/** A finger leaves no pointer behind that says over which list it is. */
let isTouch = false;
let isDown = false;
for (const kind of ["pointermove", "pointerdown", "pointerup", "pointercancel", "keydown", "wheel", "scroll"]) {
  document.addEventListener(kind, hear, { passive: true, capture: true });
}

function hear(event: Event): void {
  lastInput = Date.now();
  if (!(event instanceof PointerEvent)) return;
  isTouch = event.pointerType === "touch";
  if (event.type === "pointerdown") isDown = true;
  if (event.type === "pointerup" || event.type === "pointercancel") isDown = false;
}

function isUsed(list: HTMLElement | null): boolean {
  if (isDown) return true;
  if (Date.now() - lastInput >= IDLE_MS) return false;
  return isTouch || (list?.matches(":hover, :focus-within") ?? false);
}

/** The names in their order: first those in `first`, sorted, then the others. */
export interface Order {
  first: string[];
  rest: string[];
}

/**
 * `wanted` as it is, or as it was while the list is used or was ordered just now: then nothing leaves the first part,
 * and newcomers are the last of it.
 */
export function useStandingOrder(wanted: Order, list: RefObject<HTMLElement | null>): Order {
  const kept = useRef<{ order: Order; at: number }>({ order: wanted, at: 0 });
  const stands = Date.now() - kept.current.at < REST_MS || isUsed(list.current);
  if (stands) kept.current.order = standing(kept.current.order, wanted);
  else kept.current = { order: wanted, at: Date.now() };
  return kept.current.order;
}

function standing(old: Order, wanted: Order): Order {
  const known = new Set([...wanted.first, ...wanted.rest]);
  const first = new Set(old.first.filter((name) => known.has(name)));
  for (const name of wanted.first) first.add(name);
  const rest = new Set(old.rest.filter((name) => known.has(name) && !first.has(name)));
  for (const name of wanted.rest) if (!first.has(name)) rest.add(name);
  return { first: [...first], rest: [...rest] };
}
