// A question before something is done: what will happen, why (in the asker's words), and the second click. It stays
// open with the reason when the gateway refuses. The browser's own <dialog> keeps the focus inside and gives it back.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Form, text } from "./form";
import { tell } from "./notices";

interface Props {
  title: string;
  /** What will happen, or what is to be filled in. */
  children?: ComponentChildren;
  /** On the button that does it. */
  confirm: string;
  dangerous?: boolean;
  /** Label of the reason field; without it no reason is asked for. */
  reason?: string;
  /** Does it with what was filled in, and says in a sentence what came of it. */
  act: (reason: string, given: FormData) => Promise<string>;
  close: () => void;
}

export function Dialog({ title, children, confirm, dangerous = false, reason, act, close }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const leave = () => dialog.current?.close();
  const done = async (given: FormData) => {
    tell(await act(text(given, "reason"), given), true);
    leave();
  };
  return (
    <dialog ref={dialog} onClose={close} aria-labelledby="dialog-title">
      <Form
        confirm={confirm}
        look={dangerous ? "danger" : "primary"}
        focused={reason === undefined}
        leave={{ label: "Cancel", press: leave }}
        act={done}
      >
        <h2 id="dialog-title">{title}</h2>
        {children}
        {reason !== undefined && (
          <label class="field">
            {reason}
            <input name="reason" maxLength={500} autocomplete="off" autofocus />
          </label>
        )}
      </Form>
    </dialog>
  );
}

/** A button that opens a dialog; `why_not` says why it cannot be pressed. */
export function Asking(props: Omit<Props, "close"> & { label: string; name?: string; why_not?: string | null }) {
  const { label, name, why_not = null, ...rest } = props;
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button label={label} name={name} why_not={why_not} press={() => setOpen(true)} opens />
      {open && <Dialog {...rest} close={() => setOpen(false)} />}
    </>
  );
}

interface ButtonProps {
  label: string;
  press: () => void;
  why_not?: string | null | undefined;
  class?: string | undefined;
  opens?: boolean;
  /** For screen readers, where the label alone does not say what is meant. */
  name?: string | undefined;
}

/** What may not be pressed stays in place and says why: to the mouse, and to a screen reader. */
export function Button({ label, press, why_not = null, class: look, opens = false, name }: ButtonProps) {
  return (
    <button
      type="button"
      class={look}
      aria-label={name}
      aria-haspopup={opens ? "dialog" : undefined}
      aria-disabled={why_not !== null}
      aria-description={why_not ?? undefined}
      title={why_not ?? undefined}
      onClick={() => why_not === null && press()}
    >
      {label}
    </button>
  );
}
