// The order of a list whose worst comes first. It stands still while somebody points at the list or is in it: nothing
// may move away under a finger that is about to press.
import type { RefObject } from "preact";
import { useRef } from "preact/hooks";

/** `sorted` as it is, or as it was if the list is held; newcomers are last then. */
export function useStandingOrder(sorted: string[], list: RefObject<HTMLElement | null>): string[] {
  const order = useRef<string[]>([]);
  const isHeld = list.current?.matches(":hover, :focus-within") ?? false;
  order.current = isHeld ? kept(order.current, sorted) : sorted;
  return order.current;
}

function kept(order: string[], names: string[]): string[] {
  const rest = new Set(names);
  const old = order.filter((name) => rest.delete(name));
  return [...old, ...rest];
}
