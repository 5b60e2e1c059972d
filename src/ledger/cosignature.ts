/**
 * What the signatures under a checkpoint cover (C2SP signed-note and tlog-cosignature), and the
 * cosignatures of a witness: as of a time, the largest tree of this ledger that it has seen consistent.
 */
import { sign, verify } from "node:crypto";
import { concat, plain, utf8 } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import type { LedgerKey, SigningHalf } from "./log-key.ts";
import {
  COSIGNATURE_ED25519,
  COSIGNATURE_ML_DSA_44,
  KEY_NAME_BYTES_MAX,
  NOTE_ED25519,
  type NoteSignature,
  type VerifierKey,
} from "./note.ts";
import { formatTreeHead, parseTreeHead, type TreeHead } from "./tree-head.ts";

const ED25519_SIGNATURE_BYTES = 64;
const ML_DSA_44_SIGNATURE_BYTES = 2420;
const TIMESTAMP_BYTES = 8;

/** The label of a `cosigned_message`. */
const SUBTREE_LABEL = utf8("subtree/v1\n\0");

/**
 * A witness's two cosignatures of a tree head, Ed25519 (0x04) and ML-DSA-44 (0x06), of one time.
 *
 * @param seconds since 1970: when the witness knew of no larger tree
 */
export function cosign(
  key: LedgerKey,
  head: TreeHead,
  seconds: number,
): readonly [NoteSignature, NoteSignature] {
  invariant(key.ed25519.verifier.type === COSIGNATURE_ED25519, "a witness key cosigns");
  return [signHead(key.ed25519, head, seconds), signHead(key.mlDsa44, head, seconds)];
}

/**
 * One signature of a tree head, of the type of its key. Signatures of type 0x01 hold no time.
 *
 * @param seconds since 1970, or 0 for a signature that tells no time
 */
export function signHead(half: SigningHalf, head: TreeHead, seconds: number): NoteSignature {
  const { verifier, privateKey } = half;
  const text = formatTreeHead(head);
  const signature = plain(sign(null, signedMessage(verifier, text, seconds), privateKey));
  return {
    name: verifier.name,
    keyId: verifier.id,
    signature: verifier.type === NOTE_ED25519 ? signature : concat(timestamp(seconds), signature),
  };
}

/**
 * The time of a signature of a known key over a note, in seconds since 1970 and 0 when it tells none;
 * undefined when it does not verify, or has another length.
 *
 * Cosignatures over anything but a tree head throw `malformed`, as `parseTreeHead` does. Times after
 * 2^53 - 1 do not verify: C2SP forbids those after 2^63 - 1 and lets verifiers refuse any in the future.
 */
export function checkSignature(
  key: VerifierKey,
  text: string,
  signature: Uint8Array,
): number | undefined {
  const stampBytes = key.type === NOTE_ED25519 ? 0 : TIMESTAMP_BYTES;
  const signatureBytes =
    key.type === COSIGNATURE_ML_DSA_44 ? ML_DSA_44_SIGNATURE_BYTES : ED25519_SIGNATURE_BYTES;
  if (signature.byteLength !== stampBytes + signatureBytes) return undefined;
  const seconds = stampBytes === 0 ? 0 : readTimestamp(signature);
  if (!Number.isSafeInteger(seconds)) return undefined;
  const message = signedMessage(key, text, seconds);
  return verify(null, message, key.key, signature.subarray(stampBytes)) ? seconds : undefined;
}

/** The bytes that a key of that type signs. */
function signedMessage(key: VerifierKey, text: string, seconds: number): Uint8Array {
  switch (key.type) {
    case NOTE_ED25519:
      return utf8(text);
    case COSIGNATURE_ED25519:
      // Parsed only to refuse what is no checkpoint: the message holds the text as it is.
      parseTreeHead(text);
      return utf8(`cosignature/v1\ntime ${seconds}\n${text}`);
    case COSIGNATURE_ML_DSA_44:
      return cosignedMessage(key.name, parseTreeHead(text), seconds);
  }
}

/** The structure `cosigned_message` of tlog-cosignature, for a whole tree. */
function cosignedMessage(name: string, head: TreeHead, seconds: number): Uint8Array {
  return concat(
    SUBTREE_LABEL,
    lengthPrefixed(name),
    timestamp(seconds),
    lengthPrefixed(head.origin),
    uint64(0),
    uint64(head.size),
    head.root,
  );
}

function lengthPrefixed(text: string): Uint8Array {
  const bytes = utf8(text);
  invariant(
    bytes.byteLength > 0 && bytes.byteLength <= KEY_NAME_BYTES_MAX,
    "a name in a cosigned message has 1 to 255 bytes",
  );
  return concat(Uint8Array.of(bytes.byteLength), bytes);
}

function timestamp(seconds: number): Uint8Array {
  invariant(Number.isSafeInteger(seconds) && seconds >= 0, "a time is in whole seconds since 1970");
  return uint64(seconds);
}

/** The first eight bytes as a number, exact up to 2^53 - 1 and not a safe integer above. */
function readTimestamp(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return view.getUint32(0) * 2 ** 32 + view.getUint32(4);
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}
