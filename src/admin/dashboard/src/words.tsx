// The words that people say to a change: each is a button that asks why and says what will come of it.
import { Asking } from "./dialog";
import { change, forbidden, session } from "./session";
import { useStore } from "./store";

interface Meaning {
  label: string;
  confirm: string;
  /** What will happen. */
  told: string;
  dangerous?: boolean;
}

const WORDS = {
  approve: { label: "Approve", confirm: "Approve it", told: "It begins its stages then." },
  promote: {
    label: "Promote",
    confirm: "Promote it",
    told: "It goes to its next stage without waiting for more traffic. A failing guard still stops it.",
  },
  abort: { label: "Abort", confirm: "Abort it", told: "Everyone is served by the stable version at once.", dangerous: true },
  confirm: { label: "Confirm", confirm: "Confirm it", told: "It stays, and does not go back by itself any more." },
  acknowledge: { label: "Acknowledge", confirm: "I have seen it", told: "It went around the stages; the notice goes away." },
} satisfies Record<string, Meaning>;

interface Props {
  word: keyof typeof WORDS;
  /** The version that it is said to, and no other. */
  number: number;
  /** Who made it: they cannot approve it. */
  by?: string | null;
}

export function Word({ word, number, by = null }: Props) {
  const caller = useStore(session, ({ caller }) => caller);
  const { label, confirm, told, dangerous = false }: Meaning = WORDS[word];
  const isOwn = word === "approve" && by !== null && by === caller?.name;
  const why_not = forbidden(caller) ?? (isOwn ? "Who made a change cannot approve it: a second person is needed." : null);
  const act = async (reason: string) => {
    const body = { version: number, ...(reason === "" ? {} : { reason }) };
    return (await change<{ told: string }>("POST", `v1/rollout:${word}`, body)).told;
  };
  return (
    <Asking
      label={label}
      title={`${label} version ${number}`}
      confirm={confirm}
      dangerous={dangerous}
      reason="Why (goes into the audit)"
      why_not={why_not}
      act={act}
    >
      <p>{told}</p>
    </Asking>
  );
}
