// What is filled in and sent: once at a time, with the reason beside it when the gateway refuses, and what was filled
// in is kept then.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

interface Props {
  /** On the button that does it. */
  confirm: string;
  look?: "primary" | "danger";
  /** The button has the focus first, because there is nothing to fill in. */
  focused?: boolean;
  /** The way out. */
  leave?: { label: string; press: () => void };
  class?: string;
  children: ComponentChildren;
  /** Does it; what it throws is shown. The form stays busy after it, for it goes then. */
  act: (given: FormData) => Promise<void>;
}

export function Form({ confirm, look = "primary", focused = false, leave, class: kind, children, act }: Props) {
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<string | null>(null);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy) return;
    const given = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    setRefused(null);
    try {
      await act(given);
    } catch (error) {
      setRefused(error instanceof Error ? error.message : String(error));
      setBusy(false);
    }
  };
  return (
    <form class={kind} onSubmit={submit} onKeyDown={notHeld}>
      {children}
      {refused !== null && (
        <p class="refused" role="alert">
          <span aria-hidden="true">▲ </span>
          {refused}
        </p>
      )}
      <p class="buttons">
        {leave !== undefined && (
          <button type="button" onClick={leave.press}>
            {leave.label}
          </button>
        )}
        <button type="submit" class={look} autofocus={focused} aria-busy={busy}>
          {busy ? "…" : confirm}
        </button>
      </p>
    </form>
  );
}

/** A held Enter key that opened the form must not also confirm it. */
function notHeld(event: KeyboardEvent): void {
  if (event.key === "Enter" && event.repeat) event.preventDefault();
}

/** A field's text without the space around it; empty if there is no such field. */
export function text(given: FormData, name: string): string {
  const value = given.get(name);
  return typeof value === "string" ? value.trim() : "";
}
