/** What the ledger's text formats have in common: decimals, hashes in base64, and a head of lines before a note. */
import { fromBase64, fromUtf8, toBase64 } from "../crypto/bytes.ts";
import { ExclaveError } from "../errors.ts";
import { HASH_BYTES } from "./merkle.ts";

/**
 * A size, index or time: decimal, no sign, no leading zeros, at most 2^53 - 1. Throws `malformed`
 * otherwise. C2SP allows up to 2^63 - 1; no log that adds a million entries a second reaches 2^53
 * within 285 years, and a number that doubles do not hold must not be read as its neighbour.
 */
export function parseDecimal(text: string): number {
  const value = /^(?:0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw malformed("a number is not a plain decimal of at most 2^53 - 1");
  return value;
}

/** The 32 bytes of one hash in canonical base64. Throws `malformed` otherwise. */
export function parseHash(text: string): Uint8Array {
  const hash = fromBase64(text);
  if (hash.byteLength !== HASH_BYTES) throw malformed("a hash does not have 32 bytes");
  return hash;
}

/** Hashes, one a line. */
export function hashLines(hashes: readonly Uint8Array[]): string {
  return hashes.map((hash) => `${toBase64(hash)}\n`).join("");
}

/**
 * The lines up to the first empty one, and the bytes after it, which are a copy of nothing and keep
 * what they are. Throws `malformed` without an empty line, and for a head over `headBytesMax`.
 */
export function splitHead(
  bytes: Uint8Array,
  headBytesMax: number,
): { readonly lines: readonly string[]; readonly rest: Uint8Array } {
  const end = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).indexOf("\n\n");
  if (end < 0) throw malformed("an empty line is missing");
  if (end > headBytesMax) throw malformed("the lines before the empty line are too long");
  return {
    lines: fromUtf8(bytes.subarray(0, end)).split("\n"),
    rest: bytes.subarray(end + 2),
  };
}

export function malformed(message: string, cause?: unknown): ExclaveError {
  return new ExclaveError("malformed", message, cause === undefined ? undefined : { cause });
}
