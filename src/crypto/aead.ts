/**
 * Symmetric encryption: AES-256-GCM for what must not be altered, AES-256-CTR for dispersal, and the
 * commitment that GCM lacks. Nonces are the caller's: one (key, nonce) pair seals one message, ever;
 * Exclave gets there with a fresh key for each pack and a counter within it.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { ExclaveError, invariant } from "../errors.ts";
import { concat, release, utf8, wipe } from "./bytes.ts";
import { hmacSha256 } from "./hash.ts";

export const AEAD_KEY_BYTES = 32;
export const AEAD_NONCE_BYTES = 12;
export const AEAD_TAG_BYTES = 16;
export const KEY_COMMITMENT_BYTES = 32;
const CTR_IV_BYTES = 16;

/** Node returns each piece in fresh memory; pieces of this size are copied on while still in cache. */
const PIECE_BYTES = 256 * 1024;

/**
 * Seals with AES-256-GCM (NIST SP 800-38D).
 *
 * @param key 32 bytes
 * @param nonce 12 bytes, never used before with this key
 * @param aad authenticated with the plaintext, not contained in the result
 * @returns ciphertext, then the 16-byte tag
 */
export function seal(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  const sealed = new Uint8Array(plaintext.byteLength + AEAD_TAG_BYTES);
  sealInto(sealed, key, nonce, aad, plaintext);
  return sealed;
}

/**
 * `seal` into the beginning of `target`, which must have room and may start where `plaintext` does.
 * Returns the bytes written: the plaintext's length plus 16.
 */
export function sealInto(
  target: Uint8Array,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): number {
  checkKeyAndNonce(key, nonce);
  const length = plaintext.byteLength;
  invariant(
    target.byteLength >= length + AEAD_TAG_BYTES,
    "the target has no room for ciphertext and tag",
  );
  const cipher = createCipheriv("aes-256-gcm", key, nonce, { authTagLength: AEAD_TAG_BYTES });
  cipher.setAAD(aad, { plaintextLength: length });
  for (let at = 0; at < length; at += PIECE_BYTES) {
    moveInto(target, at, cipher.update(plaintext.subarray(at, at + PIECE_BYTES)));
  }
  cipher.final();
  target.set(cipher.getAuthTag(), length);
  return length + AEAD_TAG_BYTES;
}

/**
 * Opens what `seal` wrote. Throws `altered` when key, nonce, AAD or a single bit is not the one it was
 * sealed with; it cannot be told which.
 */
export function open(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array {
  const plaintext = new Uint8Array(Math.max(0, sealed.byteLength - AEAD_TAG_BYTES));
  openInto(plaintext, key, nonce, aad, sealed);
  return plaintext;
}

/**
 * `open` into the beginning of `target`, which must have room. Returns the plaintext's length. Where it
 * throws `altered`, the written part of the target holds zeros: unauthenticated plaintext is never
 * left behind. `target` and `sealed` must not overlap.
 */
export function openInto(
  target: Uint8Array,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): number {
  checkKeyAndNonce(key, nonce);
  const length = sealed.byteLength - AEAD_TAG_BYTES;
  if (length < 0)
    throw new ExclaveError("altered", "sealed data is shorter than its authentication tag");
  invariant(target.byteLength >= length, "the target has no room for the plaintext");
  // Without an explicit length Node would accept a tag cut down to 4 bytes.
  const decipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: AEAD_TAG_BYTES });
  decipher.setAAD(aad, { plaintextLength: length });
  decipher.setAuthTag(sealed.subarray(length));
  for (let at = 0; at < length; at += PIECE_BYTES) {
    moveInto(target, at, decipher.update(sealed.subarray(at, Math.min(at + PIECE_BYTES, length))));
  }
  try {
    decipher.final();
  } catch (cause) {
    wipe(target.subarray(0, length));
    throw new ExclaveError("altered", "sealed data does not match its authentication tag", {
      cause,
    });
  }
  return length;
}

/**
 * AES-256-CTR (NIST SP 800-38A): its own inverse, and no protection against alteration by itself.
 *
 * @param key 32 bytes
 * @param iv the first counter block, 16 bytes; with a given key, ranges of counters must never overlap
 */
export function aes256ctr(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.byteLength);
  aes256ctrInto(out, key, iv, data);
  return out;
}

/** `aes256ctr` into the beginning of `target`, which must have room and may start where `data` does. */
export function aes256ctrInto(
  target: Uint8Array,
  key: Uint8Array,
  iv: Uint8Array,
  data: Uint8Array,
): void {
  invariant(key.byteLength === AEAD_KEY_BYTES, "an AES-256 key is 32 bytes");
  invariant(iv.byteLength === CTR_IV_BYTES, "a CTR counter block is 16 bytes");
  invariant(target.byteLength >= data.byteLength, "the target has no room for the result");
  const cipher = createCipheriv("aes-256-ctr", key, iv);
  for (let at = 0; at < data.byteLength; at += PIECE_BYTES) {
    moveInto(target, at, cipher.update(data.subarray(at, at + PIECE_BYTES)));
  }
  cipher.final();
}

function moveInto(target: Uint8Array, at: number, piece: Uint8Array): void {
  target.set(piece, at);
  release(piece);
}

const COMMITMENT_LABEL = concat(utf8("exclave/v1 key commitment"), Uint8Array.of(0));

/**
 * Commits to a key: HMAC-SHA-256(key, "exclave/v1 key commitment" || 0x00 || context), 32 bytes. Stored
 * beside the ciphertext and compared before opening, in constant time. AES-GCM alone does not commit:
 * one ciphertext can be made that opens, to different plaintexts, under two keys (Albertini, Duong,
 * Gueron, Kölbl, Luykx, Schmieg: "How to Abuse and Fix Authenticated Encryption Without Key
 * Commitment", USENIX Security 2022; this is a PRF-based fix in the manner of its section 5).
 *
 * @param key 32 bytes
 * @param context where the key is used; the same one that its ciphertexts' AAD begins with
 */
export function keyCommitment(key: Uint8Array, context: Uint8Array): Uint8Array {
  invariant(key.byteLength === AEAD_KEY_BYTES, "a committed key is 32 bytes");
  return hmacSha256(key, COMMITMENT_LABEL, context);
}

function checkKeyAndNonce(key: Uint8Array, nonce: Uint8Array): void {
  invariant(key.byteLength === AEAD_KEY_BYTES, "an AES-256-GCM key is 32 bytes");
  invariant(nonce.byteLength === AEAD_NONCE_BYTES, "an AES-256-GCM nonce is 12 bytes");
}
