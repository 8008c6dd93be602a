// The question for a token. It is shown only when the API asks for one.
import { useState } from "preact/hooks";
import { Problem, session, signIn, signOut } from "./session";
import { useStore } from "./store";

export function SignIn() {
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const token = new FormData(event.currentTarget as HTMLFormElement).get("token");
    if (busy || typeof token !== "string" || token.trim() === "") return;
    setBusy(true);
    try {
      await signIn(token.trim());
    } catch (refused) {
      const unknown = refused instanceof Problem && refused.status === 401;
      setError(unknown ? "The gateway does not know this token." : (refused as Error).message);
      setBusy(false);
    }
  };
  return (
    <main class="signin">
      <form onSubmit={submit}>
        <h1>Tidegate</h1>
        <label class="field">
          Token
          <input name="token" type="password" autocomplete="off" spellcheck={false} autofocus required />
        </label>
        <p class="hint">It stays in this tab until it is closed. A viewer's token looks; an operator's also acts.</p>
        {error !== null && (
          <p class="refused" role="alert">
            <span aria-hidden="true">▲ </span>
            {error}
          </p>
        )}
        <p class="buttons">
          <button type="submit" class="primary" aria-busy={busy}>
            Sign in
          </button>
        </p>
      </form>
    </main>
  );
}

/** Who is signed in, and the way out. */
export function Who() {
  const { caller, token } = useStore(session, (now) => now);
  if (caller === null) return null;
  return (
    <span class="who">
      <span title={`Role: ${caller.role}`}>
        {caller.name} · {caller.role}
      </span>
      {token !== null && (
        <button type="button" class="quiet" onClick={signOut}>
          Sign out
        </button>
      )}
    </span>
  );
}
