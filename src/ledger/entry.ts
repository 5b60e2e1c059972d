/**
 * What a leaf of the ledger says: a document of that kind exists, and its envelope has this hash. The
 * envelope, which holds a random value so that no hash of one can be guessed, is an object at every site.
 *
 *     entry = "exclave/v1 " kind " " SHA-256 of the envelope in lower-case hex LF
 */
import { fromUtf8, utf8 } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import { malformed } from "./text.ts";

export const ENTRY_KINDS = [
  "charter",
  "decision",
  "veto",
  "freeze",
  "statement",
  "share-set",
  "receipt",
  "check",
  "drill",
  /** The recovery key was brought together. */
  "opening",
  /** Home was lost: the recovery key closed this ledger and opened the next generation. */
  "succession",
] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

/** Entries that the charter in force follows from; readers need to know when each of them counted. */
export const GOVERNING_KINDS = [
  "charter",
  "decision",
  "veto",
  "freeze",
  "succession",
] as const satisfies readonly EntryKind[];

/** Entries that say what happened to the recovery key and what checks found, and decide nothing. */
export const RECORD_KINDS = [
  "share-set",
  "receipt",
  "check",
  "opening",
] as const satisfies readonly EntryKind[];

export type LedgerEntry = {
  readonly kind: EntryKind;
  /** SHA-256 of the envelope, lower-case hex. */
  readonly envelope: string;
};

/** How every entry of a kind begins, and no entry of another. */
export function entryPrefix(kind: EntryKind): string {
  return `exclave/v1 ${kind} `;
}

const FORM = /^exclave\/v1 ([a-z-]+) ([0-9a-f]{64})\n$/;
const ENTRY_BYTES = 128;

export function encodeLedgerEntry({ kind, envelope }: LedgerEntry): Uint8Array {
  const text = `${entryPrefix(kind)}${envelope}\n`;
  invariant(FORM.test(text), "an entry names an envelope by its hash");
  return utf8(text);
}

/** Throws `malformed` for anything but an entry of a known kind. */
export function decodeLedgerEntry(bytes: Uint8Array): LedgerEntry {
  const [, kind, envelope] =
    (bytes.byteLength <= ENTRY_BYTES ? FORM.exec(fromUtf8(bytes)) : undefined) ?? [];
  const known = ENTRY_KINDS.find((one) => one === kind);
  if (!known || envelope === undefined)
    throw malformed("an entry of the ledger is of no known kind");
  return { kind: known, envelope };
}
