// A value that components watch. They are drawn again when what they picked from it is another one.
import { useEffect, useReducer, useRef } from "preact/hooks";

export class Store<T> {
  #value: T;
  #watchers = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    for (const watcher of [...this.#watchers]) watcher();
  }

  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }
}

/** What `pick` takes out of a store, now and whenever it changes. */
export function useStore<T, P>(store: Store<T>, pick: (value: T) => P): P {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  const picked = pick(store.value);
  const seen = useRef({ picked, pick });
  seen.current = { picked, pick };
  useEffect(() => {
    const look = () => {
      if (!Object.is(seen.current.pick(store.value), seen.current.picked)) draw(undefined);
    };
    look();
    return store.watch(look);
  }, [store]);
  return picked;
}
