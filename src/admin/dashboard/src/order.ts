// The order of a list whose worst comes first. It stands still while somebody uses it: nothing may move away under a
// finger that is about to press. Who has not moved for a while looks, and wants the worst on top.
import type { RefObject } from "preact";
import { useRef } from "preact/hooks";

const IDLE_MS = 10_000;

let lastInput = 0;
for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) {
  document.addEventListener(kind, () => (lastInput = Date.now()), { passive: true, capture: true });
}

/** `sorted` as it is, or as it was while the list is used; newcomers are last then. */
export function useStandingOrder(sorted: string[], list: RefObject<HTMLElement | null>): string[] {
  const order = useRef<string[]>([]);
  const isUsed = Date.now() - lastInput < IDLE_MS && (list.current?.matches(":hover, :focus-within") ?? false);
  order.current = isUsed ? kept(order.current, sorted) : sorted;
  return order.current;
}

function kept(order: string[], names: string[]): string[] {
  const rest = new Set(names);
  const old = order.filter((name) => rest.delete(name));
  return [...old, ...rest];
}
