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
  type Note,
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
  const kept = signatures.filter(
    (one) => !signed.some(({ key }) => key.name === one.name && key.id === one.keyId),
  );
  return formatNote({ text, signatures: [...kept, ...signed.map(({ signature }) => signature)] });
}
