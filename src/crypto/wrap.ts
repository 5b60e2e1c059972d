/**
 * Wraps a short secret, such as an epoch key, for the holder of a KEM key pair. In the manner of HPKE
 * (RFC 9180, base mode, one message), with the context bound twice: it enters the key derivation, and
 * it is the AAD. The wrap says nothing about who made it; documents that carry wraps are signed.
 *
 *     encapsulation, ss = kemEncapsulate(publicKey)
 *     key (32) || nonce (12) = HKDF-SHA-256(ss, salt "", info "exclave/v1 wrap" || 0x00 || context)
 *     sealed = AES-256-GCM(key, nonce, aad = context, secret)
 */
import { ExclaveError, invariant } from "../errors.ts";
import { AEAD_KEY_BYTES, AEAD_NONCE_BYTES, AEAD_TAG_BYTES, open, seal } from "./aead.ts";
import { concat, utf8, wipe } from "./bytes.ts";
import { hkdfSha256 } from "./hash.ts";
import { type KemKeyPair, kemDecapsulate, kemEncapsulate } from "./kem.ts";

export const WRAP_SECRET_BYTES_MAX = 256 * 1024;
export const WRAP_CONTEXT_BYTES_MAX = 512;

const LABEL = concat(utf8("exclave/v1 wrap"), Uint8Array.of(0));

export interface Wrap {
  /** The KEM ciphertext, 1665 bytes. */
  readonly encapsulation: Uint8Array;
  /** The sealed secret: its length plus a 16-byte tag. */
  readonly sealed: Uint8Array;
}

/**
 * Wraps 1 to 262144 bytes for `publicKey`, whose holder must present the same context (at most 512
 * bytes) to open them. Throws `bad-key` for an invalid public key.
 */
export function wrapTo(publicKey: Uint8Array, secret: Uint8Array, context: Uint8Array): Wrap {
  invariant(
    secret.byteLength > 0 && secret.byteLength <= WRAP_SECRET_BYTES_MAX,
    "a wrapped secret has 1 to 262144 bytes",
  );
  const { sharedSecret, ciphertext } = kemEncapsulate(publicKey);
  const { key, nonce } = derive(sharedSecret, context);
  try {
    return { encapsulation: ciphertext, sealed: seal(key, nonce, context, secret) };
  } finally {
    wipe(key);
  }
}

/** The wrapped secret. Throws `altered` when wrap, key pair or context is not the one it was made with. */
export function unwrap(keyPair: KemKeyPair, wrap: Wrap, context: Uint8Array): Uint8Array {
  const secretBytes = wrap.sealed.byteLength - AEAD_TAG_BYTES;
  if (secretBytes <= 0 || secretBytes > WRAP_SECRET_BYTES_MAX) {
    throw new ExclaveError("altered", "a wrapped secret has an impossible length");
  }
  const { key, nonce } = derive(kemDecapsulate(keyPair, wrap.encapsulation), context);
  try {
    return open(key, nonce, context, wrap.sealed);
  } finally {
    wipe(key);
  }
}

/** Wipes the shared secret. */
function derive(
  sharedSecret: Uint8Array,
  context: Uint8Array,
): { readonly key: Uint8Array; readonly nonce: Uint8Array } {
  invariant(
    context.byteLength <= WRAP_CONTEXT_BYTES_MAX,
    "the context of a wrap has at most 512 bytes",
  );
  const info = concat(LABEL, context);
  const derived = hkdfSha256(
    sharedSecret,
    new Uint8Array(),
    info,
    AEAD_KEY_BYTES + AEAD_NONCE_BYTES,
  );
  wipe(sharedSecret);
  return { key: derived.subarray(0, AEAD_KEY_BYTES), nonce: derived.subarray(AEAD_KEY_BYTES) };
}
