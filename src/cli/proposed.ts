/** What a command says when the State has to decide first: the paper to sign, and how it goes on. */
import { moment } from "../charter/charter.ts";
import type { Decision } from "../charter/decision.ts";
import { sentenceOf } from "../charter/sentences.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { newProposal, readProposal } from "../governance/proposal.ts";
import type { Home } from "../vault/home.ts";
import { writeNewFile } from "./new-file.ts";
import type { Terminal } from "./terminal.ts";

/** Digits of an id in a file's name. */
const NAME_DIGITS = 12;

/** Writes the decision to a file for people to sign, and says what to do with it. */
export async function sayProposed(
  terminal: Terminal,
  home: Home,
  { decision, envelope }: { readonly decision: Decision; readonly envelope?: Uint8Array },
  object: Readonly<Record<string, unknown>>,
  out?: string,
): Promise<void> {
  const current = home.known.history.history.at(-1);
  invariant(current, "a State has a charter");
  const proposal = newProposal("decision", decision, current.payload, envelope);
  const { id, payload } = readProposal(proposal);
  invariant(id === toHex(sha256(payload)), "a proposal is called by its payload");
  const file = await writeNewFile(out ?? `decision-${id.slice(0, NAME_DIGITS)}.json`, proposal);
  terminal.result({ ...object, proposed: { id, file } }, [
    "This State decides with signatures. The decision is written, and nothing is changed yet:",
    "",
    `  ${sentenceOf(decision.order, home.charter, registerNames(home))}`,
    "",
    `  decision   ${id}`,
    `  file       ${file}`,
    "",
    ...(envelope ? ["Home's own seat has signed it.", ""] : []),
    `Read it again:     exclave decide show ${file}`,
    `Have it signed:    exclave decide sign ${file} --key KEY      (each signatory, anywhere)`,
    `Then hand it in:   exclave decide submit ${file}`,
  ]);
}

/** What home calls a register. */
export type RegisterNames = (id: string) => string | undefined;

export function registerNames(home: Home): RegisterNames {
  return (id) => home.config.inventory.find((details) => details.id === id)?.name;
}

/**
 * Refuses a text that names a register: every host country reads reasons, and registers are sealed to them. By
 * whole words, so that one can still say what one means.
 */
export function refuseRegisterNames(home: Home, ...texts: readonly string[]): void {
  const words = new Set(texts.flatMap((text) => text.toLowerCase().split(/[^a-z0-9._-]+/)));
  const bare = new Set([...words].map((word) => word.replace(/[._-]+$/, "")));
  const named = home.config.inventory.find(({ name }) => words.has(name) || bare.has(name));
  if (!named) return;
  throw new ExclaveError(
    "usage",
    `the text names the register "${named.name}", and every host country would read it. Nothing was changed; say it without that name`,
  );
}

/** A day, or a second of it in UTC, as charters write it. Throws `usage`. */
export function momentFlag(text: string): string {
  const parsed = moment.safeParse(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  if (parsed.success) return parsed.data;
  throw new ExclaveError(
    "usage",
    `${text} is not a date: write 2030-01-31, or 2030-01-31T12:00:00Z for a moment`,
  );
}
