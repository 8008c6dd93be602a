// Who uses the page, and every request that it makes. The token stays in this tab (sessionStorage) and travels in a
// header that no other site's page can set; there are no cookies, so nothing acts on somebody's behalf.
import type { Caller } from "./shapes";
import { Store } from "./store";

const KEY = "tidegate-token";

export interface Session {
  token: string | null;
  /** The API asked for a token, or did not know this one. */
  locked: boolean;
  caller: Caller | null;
}

export const session = new Store<Session>({ token: sessionStorage.getItem(KEY), locked: false, caller: null });

/** What the API said instead of doing it. */
export class Problem extends Error {
  readonly status: number;
  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

/** A request to the API; the answer if it is a good one. Throws a `Problem` else. */
export async function ask(path: string, init: RequestInit = {}, token = session.value.token): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token !== null) headers.set("authorization", `Bearer ${token}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Problem(0, "The gateway's admin side does not answer.");
  }
  if (response.ok) return response;
  // Somebody may have signed in meanwhile: an answer to the old token says nothing about the new one.
  if (response.status === 401 && session.value.token === token) signOut();
  throw new Problem(response.status, await detailOf(response));
}

async function detailOf(response: Response): Promise<string> {
  try {
    const problem: unknown = await response.json();
    const detail = (problem as { detail?: unknown } | null)?.detail;
    if (typeof detail === "string") return detail;
  } catch {
    // Not a problem object: the status has to do.
  }
  return `The admin side answered ${response.status} ${response.statusText}.`;
}

export async function get<T>(path: string, signal?: AbortSignal, token = session.value.token): Promise<T> {
  const response = await ask(path, { signal: signal ?? AbortSignal.timeout(10_000) }, token);
  return (await response.json()) as T;
}

/**
 * A change; of this revision and no other, if one is given. It is waited for longer than the API takes at most.
 */
export async function change<T>(
  method: "POST" | "PUT" | "DELETE",
  path: string,
  body?: object,
  revision?: number,
): Promise<T> {
  const headers = new Headers();
  const init: RequestInit = { method, headers, signal: AbortSignal.timeout(15_000) };
  if (body !== undefined) {
    headers.set("content-type", "application/json");
    init.body = JSON.stringify(body);
  }
  if (revision !== undefined) headers.set("if-match", `"${revision}"`);
  try {
    const response = await ask(path, init);
    return (await response.json()) as T;
  } catch (error) {
    if (error instanceof DOMException) {
      throw new Problem(0, "No answer within 15 s: it may have been done or not. Look before you do it again.");
    }
    throw error;
  }
}

/** Forgets the token. */
export function signOut(): void {
  sessionStorage.removeItem(KEY);
  session.set({ token: null, locked: true, caller: null });
}

/** Asks who this is. Throws if the token is not known, and then nothing is different. */
export async function signIn(token: string | null): Promise<void> {
  const caller = await whoami(token);
  if (token !== null) sessionStorage.setItem(KEY, token);
  session.set({ token, locked: false, caller });
}

async function whoami(token: string | null): Promise<Caller | null> {
  try {
    return await get<Caller>("v1/whoami", undefined, token);
  } catch (error) {
    // Where this is not told, the controls are there and the API refuses what may not be.
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/** Why this caller may not act; null if they may. */
export function forbidden(caller: Caller | null): string | null {
  if (caller === null || caller.role !== "viewer") return null;
  return `Signed in as ${caller.name} (viewer), who may look; this needs an operator's token.`;
}
