/**
 * Hybrid signatures: Ed25519 (RFC 8032) and pure ML-DSA-87 (FIPS 204, empty context), and both must
 * verify. Both sign "exclave/v1 hybrid signature" || 0x00 || message, so that neither half, taken off,
 * is a signature by that component key on any other kind of message, nor one made elsewhere (such as
 * the Ed25519-only signature of a request) a half.
 *
 *     public key = Ed25519 (32) || ML-DSA-87 (2592)
 *     key id     = lower-case hex of SHA-256("exclave/v1 signing key" || 0x00 || public key)
 *     signature  = Ed25519 (64) || ML-DSA-87 (4627)
 */
import { type KeyObject, sign as signOne, verify as verifyOne } from "node:crypto";
import { ExclaveError } from "../errors.ts";
import { concat, plain, toHex, utf8, wipe } from "./bytes.ts";
import { hkdfSha256, sha256 } from "./hash.ts";
import { ED25519, exportPublic, importPrivate, importPublic, ML_DSA_87 } from "./key-objects.ts";
import { Remembered } from "./remembered.ts";

export const SIGNING_SEED_BYTES = 32;
export const SIGNING_PUBLIC_KEY_BYTES = ED25519.publicBytes + ML_DSA_87.publicBytes;
const ED25519_SIGNATURE_BYTES = 64;
const ML_DSA_87_SIGNATURE_BYTES = 4627;
export const SIGNATURE_BYTES = ED25519_SIGNATURE_BYTES + ML_DSA_87_SIGNATURE_BYTES;

/** A State has a few hundred keys at the most, and as many papers that are read more than once. */
const REMEMBERED = 512;
const KEYS = new Remembered<PublicSigningKey>(REMEMBERED);
/** By the SHA-256 of key id, signature and message. */
const VERIFIED = new Remembered<true>(REMEMBERED);

const KEY_ID_LABEL = concat(utf8("exclave/v1 signing key"), Uint8Array.of(0));
const SIGNATURE_LABEL = concat(utf8("exclave/v1 hybrid signature"), Uint8Array.of(0));

export interface PublicSigningKey {
  /** 64 lower-case hexadecimal digits. */
  readonly id: string;
  /** The 2624-byte encoding. */
  readonly bytes: Uint8Array;
  readonly ed25519: KeyObject;
  readonly mlDsa87: KeyObject;
}

/** A key pair in memory; what is stored of it is the seed and the public key. */
export interface SigningKey {
  readonly id: string;
  readonly publicKey: PublicSigningKey;
  readonly ed25519: KeyObject;
  readonly mlDsa87: KeyObject;
}

/**
 * The signing key of a 32-byte seed: one HKDF-SHA-256 output, with its own info, for each component.
 * Throws `bad-key` for another length.
 */
export function signingKeyFromSeed(seed: Uint8Array): SigningKey {
  if (seed.byteLength !== SIGNING_SEED_BYTES)
    throw new ExclaveError("bad-key", "the seed of a signing key has 32 bytes");
  const salt = new Uint8Array();
  const seedEd25519 = hkdfSha256(
    seed,
    salt,
    "exclave/v1 signing key ed25519",
    ED25519.privateBytes,
  );
  const seedMlDsa87 = hkdfSha256(
    seed,
    salt,
    "exclave/v1 signing key ml-dsa-87",
    ML_DSA_87.privateBytes,
  );
  try {
    const ed25519 = importPrivate(ED25519, seedEd25519);
    const mlDsa87 = importPrivate(ML_DSA_87, seedMlDsa87);
    const publicKey = parseSigningPublicKey(
      concat(exportPublic(ED25519, ed25519), exportPublic(ML_DSA_87, mlDsa87)),
    );
    return { id: publicKey.id, publicKey, ed25519, mlDsa87 };
  } finally {
    wipe(seedEd25519, seedMlDsa87);
  }
}

/** The public key of its 2624 bytes. Throws `bad-key` for another length and for an Ed25519 point of small order. */
export function parseSigningPublicKey(bytes: Uint8Array): PublicSigningKey {
  if (bytes.byteLength !== SIGNING_PUBLIC_KEY_BYTES) {
    throw new ExclaveError("bad-key", `a public signing key has ${SIGNING_PUBLIC_KEY_BYTES} bytes`);
  }
  const id = toHex(sha256(KEY_ID_LABEL, bytes));
  const known = KEYS.get(id);
  if (known) return known;
  const copy = Uint8Array.from(bytes);
  return KEYS.keep(id, {
    id,
    bytes: copy,
    ed25519: importPublic(ED25519, copy.subarray(0, ED25519.publicBytes)),
    mlDsa87: importPublic(ML_DSA_87, copy.subarray(ED25519.publicBytes)),
  });
}

/** Signs a message: 4691 bytes. Callers give the message its own type label; documents go through dsse.ts. */
export function sign(key: SigningKey, message: Uint8Array): Uint8Array {
  const labelled = concat(SIGNATURE_LABEL, message);
  return concat(
    plain(signOne(null, labelled, key.ed25519)),
    plain(signOne(null, labelled, key.mlDsa87)),
  );
}

/** True when both halves of the signature verify; false for everything else, a wrong length included. */
export function verify(key: PublicSigningKey, message: Uint8Array, signature: Uint8Array): boolean {
  if (signature.byteLength !== SIGNATURE_BYTES) return false;
  const one = toHex(sha256(utf8(key.id), signature, message));
  if (VERIFIED.get(one)) return true;
  const labelled = concat(SIGNATURE_LABEL, message);
  const ed25519Good = verifyOne(
    null,
    labelled,
    key.ed25519,
    signature.subarray(0, ED25519_SIGNATURE_BYTES),
  );
  const mlDsa87Good = verifyOne(
    null,
    labelled,
    key.mlDsa87,
    signature.subarray(ED25519_SIGNATURE_BYTES),
  );
  return ed25519Good && mlDsa87Good && VERIFIED.keep(one, true);
}
