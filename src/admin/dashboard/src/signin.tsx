// The question for a token. It is shown only when the API asks for one.
import { Form, text } from "./form";
import { Problem, session, signIn, signOut } from "./session";
import { useStore } from "./store";

export function SignIn() {
  const act = async (given: FormData) => {
    try {
      await signIn(text(given, "token"));
    } catch (refused) {
      const unknown = refused instanceof Problem && refused.status === 401;
      throw unknown ? new Error("The gateway does not know this token.") : refused;
    }
  };
  return (
    <main class="signin">
      <Form confirm="Sign in" act={act}>
        <h1>Tidegate</h1>
        <label class="field">
          Token
          <input name="token" type="password" autocomplete="off" spellcheck={false} autofocus required />
        </label>
        <p class="hint">It stays in this tab until it is closed. A viewer's token looks; an operator's also acts.</p>
      </Form>
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
