/**
 * Checkpoints (C2SP tlog-checkpoint): the tree head of a ledger as a signed note. A ledger of Exclave
 * signs twice, with Ed25519 over the note and with ML-DSA-44 over a cosigned message under its own name,
 * and is believed only when both verify.
 */
import { ExclaveError, invariant } from "../errors.ts";
import { checkSignature, signHead } from "./cosignature.ts";
import type { LedgerKey, LedgerVerifierKeys } from "./log-key.ts";
import {
  formatNote,
  NOTE_ED25519,
  NOTE_SIGNATURES_MAX,
  type Note,
  type NoteSignature,
  openNote,
  parseNote,
  parseSignatureLines,
  type Signed,
  type VerifierKey,
} from "./note.ts";
import { formatTreeHead, parseTreeHead, type TreeHead } from "./tree-head.ts";

/** A checkpoint, and the known keys that signed it. Whether they are enough is for the caller to say. */
export interface OpenedCheckpoint {
  readonly head: TreeHead;
  readonly note: Note;
  readonly signed: readonly Signed[];
}

/**
 * The checkpoint of a tree head, as the log signs it. The caller has made sure that the head continues
 * every one that was signed before: nothing mends a fork.
 *
 * @param seconds since 1970: when this was the log's largest tree; 0 to tell no time
 */
export function signCheckpoint(key: LedgerKey, head: TreeHead, seconds: number): Uint8Array {
  invariant(key.ed25519.verifier.type === NOTE_ED25519, "a log key signs checkpoints");
  invariant(key.name === head.origin, "a log signs its own tree heads");
  const ed25519 = signHead(key.ed25519, head, seconds);
  const mlDsa44 = signHead(key.mlDsa44, head, seconds);
  return formatNote({ text: formatTreeHead(head), signatures: [ed25519, mlDsa44] });
}

/**
 * Verifies the signatures of known keys under a checkpoint.
 *
 * Throws `malformed` for another form; `altered` when any signature by one of the keys does not verify;
 * `untrusted` when there is none.
 */
export function openCheckpoint(bytes: Uint8Array, keys: readonly VerifierKey[]): OpenedCheckpoint {
  const { note, signed } = openNote(bytes, keys, checkSignature);
  return { head: parseTreeHead(note.text), note, signed };
}

/**
 * The tree head of a ledger's checkpoint, when both keys of the ledger signed it, and when its log
 * says that was; 0 when it does not say. Throws as `openCheckpoint` does, and `untrusted` when a
 * signature of the log is missing or the origin is another's.
 */
export function verifyCheckpoint(
  bytes: Uint8Array,
  keys: LedgerVerifierKeys,
): { readonly head: TreeHead; readonly seconds: number } {
  const opened = openCheckpoint(bytes, keys);
  requireLog(opened, keys);
  return { head: opened.head, seconds: Math.max(...opened.signed.map(({ seconds }) => seconds)) };
}

/**
 * Throws `untrusted` unless every one of the log's keys signed, there is at least one, and all are named
 * as the origin is.
 */
export function requireLog({ head, signed }: OpenedCheckpoint, keys: readonly VerifierKey[]): void {
  if (keys.length === 0)
    throw new ExclaveError("untrusted", `no key of the log ${head.origin} is known`);
  for (const key of keys) {
    if (key.name !== head.origin)
      throw new ExclaveError("untrusted", `a checkpoint is by ${head.origin}, not by ${key.name}`);
    if (!signed.some((one) => one.key.id === key.id && one.key.name === key.name))
      throw new ExclaveError(
        "untrusted",
        `a checkpoint of ${head.origin} lacks one of its log's signatures`,
      );
  }
}

/**
 * The checkpoint with the cosignatures that a witness answered with. Lines of other keys than the
 * witness's are dropped, and an older one of the same key gives way.
 *
 * Throws `malformed` for another form of answer, `altered` when a line of the witness does not verify,
 * and `untrusted` when it has none.
 */
export function addCosignatures(
  checkpoint: Uint8Array,
  answer: Uint8Array,
  witness: readonly VerifierKey[],
): Uint8Array {
  const { text, signatures } = parseNote(checkpoint);
  const { signed } = openCheckpoint(
    formatNote({ text, signatures: parseSignatureLines(answer) }),
    witness,
  );
  const kept = signatures.filter((one) => !signed.some(({ key }) => isBy(one, key)));
  return formatNote({ text, signatures: [...kept, ...signed.map(({ signature }) => signature)] });
}

/** A checkpoint with the log's signatures and no other line. Throws as `verifyCheckpoint` does. */
export function bareCheckpoint(checkpoint: Uint8Array, log: LedgerVerifierKeys): Uint8Array {
  const opened = openCheckpoint(checkpoint, log);
  requireLog(opened, log);
  const signatures = opened.signed.map(({ signature }) => signature);
  return formatNote({ text: opened.note.text, signatures });
}

/**
 * The checkpoint with, of each of the keys, the earliest cosignature that it or any of the other notes has:
 * a witness that cosigns again moves no time, and a line that does not verify hides none that does. Of other
 * keys it has the lines that it had. Throws `malformed` for what is no note; notes of another text add nothing.
 */
export function joinCosignatures(
  checkpoint: Uint8Array,
  others: readonly Uint8Array[],
  witnesses: readonly VerifierKey[],
): Uint8Array {
  const { text, signatures } = parseNote(checkpoint);
  const lines = others.map(parseNote).flatMap((one) => (one.text === text ? one.signatures : []));
  const known = { text, signatures: [...signatures, ...lines] };
  const kept = signatures.filter((one) => !witnesses.some((key) => isBy(one, key)));
  const cosigned = earliestCosignatures(known, witnesses).map(({ signature }) => signature);
  return formatNote({ text, signatures: [...kept, ...cosigned].slice(0, NOTE_SIGNATURES_MAX) });
}

/**
 * Of each key the signature of the earliest time that a note has. Unlike `openNote`, it passes over lines that
 * do not verify or tell no time: they are no reason to disbelieve what others signed.
 */
export function earliestCosignatures(note: Note, keys: readonly VerifierKey[]): readonly Signed[] {
  return keys.flatMap((key): Signed[] => {
    const all = note.signatures.flatMap((signature): Signed[] => {
      if (!isBy(signature, key)) return [];
      const seconds = checkSignature(key, note.text, signature.signature);
      return seconds === undefined || seconds === 0 ? [] : [{ key, signature, seconds }];
    });
    return all.toSorted((a, b) => a.seconds - b.seconds).slice(0, 1);
  });
}

/** Whether a line says that it is by that key. */
function isBy(line: NoteSignature, key: VerifierKey): boolean {
  return line.name === key.name && line.keyId === key.id;
}
