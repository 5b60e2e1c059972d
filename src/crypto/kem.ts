/**
 * The hybrid KEM MLKEM1024-P384 of draft-irtf-cfrg-concrete-hybrid-kems, on node:crypto: secret for as
 * long as either ML-KEM-1024 (FIPS 203) or ECDH on P-384 holds. The 32-byte seed is the private key;
 * SHAKE256 expands it into both components' keys, and SHA3-256 combines the shared secrets (the C2PRI
 * combiner of draft-irtf-cfrg-hybrid-kems, after X-Wing: ML-KEM's ciphertext needs no hashing because
 * ML-KEM binds it).
 *
 *     public key = ek_PQ (1568) || ek_T (97, uncompressed point)
 *     ciphertext = ct_PQ (1568) || ct_T (97, uncompressed point)
 *     ss         = SHA3-256(ss_PQ || ss_T || ct_T || ek_T || "MLKEM1024-P384")
 *
 * with ss_T the 48-byte x coordinate.
 */
import {
  createHash,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  hash,
  type KeyObject,
} from "node:crypto";
import { ExclaveError } from "../errors.ts";
import { concat, plain, utf8, wipe } from "./bytes.ts";
import { exportPublic, importPrivate, importPublic, ML_KEM_1024, P384 } from "./key-objects.ts";

export const KEM_SEED_BYTES = 32;
export const KEM_PUBLIC_KEY_BYTES = ML_KEM_1024.publicBytes + P384.publicBytes;
const PQ_CIPHERTEXT_BYTES = 1568;
export const KEM_CIPHERTEXT_BYTES = PQ_CIPHERTEXT_BYTES + P384.publicBytes;

const LABEL = utf8("MLKEM1024-P384");

/** A key pair in memory; what is stored of it is the seed and `publicKey`. */
export interface KemKeyPair {
  /** 1665 bytes, as in the draft. */
  readonly publicKey: Uint8Array;
  readonly mlKem1024: KeyObject;
  readonly p384: KeyObject;
}

export interface KemEncapsulation {
  /** 32 bytes, uniform to everyone but the two ends; wipe after use. */
  readonly sharedSecret: Uint8Array;
  /** 1665 bytes, to be sent to the holder of the key pair. */
  readonly ciphertext: Uint8Array;
}

/** The key pair of a 32-byte seed. Throws `bad-key` for another length. */
export function kemKeyPairFromSeed(seed: Uint8Array): KemKeyPair {
  if (seed.byteLength !== KEM_SEED_BYTES)
    throw new ExclaveError("bad-key", "the seed of a KEM key has 32 bytes");
  const length = ML_KEM_1024.privateBytes + P384.privateBytes;
  const expanded = plain(createHash("shake256", { outputLength: length }).update(seed).digest());
  try {
    const mlKem1024 = importPrivate(ML_KEM_1024, expanded.subarray(0, ML_KEM_1024.privateBytes));
    const p384 = importPrivate(P384, expanded.subarray(ML_KEM_1024.privateBytes));
    const publicKey = concat(exportPublic(ML_KEM_1024, mlKem1024), exportPublic(P384, p384));
    return { publicKey, mlKem1024, p384 };
  } finally {
    wipe(expanded);
  }
}

/** A fresh shared secret for the holder of `publicKey`. Throws `bad-key` when that is not a valid public key. */
export function kemEncapsulate(publicKey: Uint8Array): KemEncapsulation {
  const { mlKem1024, p384, p384Bytes } = importKemPublicKey(publicKey);
  const ephemeral = generateKeyPairSync("ec", { namedCurve: "P-384" });
  const ciphertextP384 = exportPublic(P384, ephemeral.publicKey);
  const { sharedKey, ciphertext } = encapsulate(mlKem1024);
  const secretP384 = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: p384 });
  const sharedSecret = combine(sharedKey, secretP384, ciphertextP384, p384Bytes);
  return { sharedSecret, ciphertext: concat(ciphertext, ciphertextP384) };
}

/**
 * The shared secret of a ciphertext. Throws `altered` when it has a wrong length or its point is not on
 * the curve. Any other alteration yields an unrelated secret (FIPS 203's implicit rejection), so that
 * what is sealed under it does not open.
 */
export function kemDecapsulate(keyPair: KemKeyPair, ciphertext: Uint8Array): Uint8Array {
  if (ciphertext.byteLength !== KEM_CIPHERTEXT_BYTES) {
    throw new ExclaveError("altered", `a KEM ciphertext has ${KEM_CIPHERTEXT_BYTES} bytes`);
  }
  const ciphertextP384 = ciphertext.subarray(PQ_CIPHERTEXT_BYTES);
  let ephemeral: KeyObject;
  try {
    ephemeral = importPublic(P384, ciphertextP384);
  } catch (cause) {
    throw new ExclaveError("altered", "a KEM ciphertext holds no valid P-384 point", { cause });
  }
  const secretMlKem = decapsulate(keyPair.mlKem1024, ciphertext.subarray(0, PQ_CIPHERTEXT_BYTES));
  const secretP384 = diffieHellman({ privateKey: keyPair.p384, publicKey: ephemeral });
  return combine(
    secretMlKem,
    secretP384,
    ciphertextP384,
    keyPair.publicKey.subarray(ML_KEM_1024.publicBytes),
  );
}

/** Throws `bad-key` unless these 1665 bytes are a public key to which something can be encapsulated. */
export function checkKemPublicKey(publicKey: Uint8Array): void {
  importKemPublicKey(publicKey);
}

function importKemPublicKey(publicKey: Uint8Array): {
  readonly mlKem1024: KeyObject;
  readonly p384: KeyObject;
  readonly p384Bytes: Uint8Array;
} {
  if (publicKey.byteLength !== KEM_PUBLIC_KEY_BYTES) {
    throw new ExclaveError("bad-key", `a public KEM key has ${KEM_PUBLIC_KEY_BYTES} bytes`);
  }
  const p384Bytes = publicKey.subarray(ML_KEM_1024.publicBytes);
  return {
    mlKem1024: importPublic(ML_KEM_1024, publicKey.subarray(0, ML_KEM_1024.publicBytes)),
    p384: importPublic(P384, p384Bytes),
    p384Bytes,
  };
}

/** Wipes the component secrets. All fields have fixed lengths, so concatenation is unambiguous. */
function combine(
  secretMlKem: Uint8Array,
  secretP384: Uint8Array,
  ciphertextP384: Uint8Array,
  publicP384: Uint8Array,
): Uint8Array {
  const input = concat(secretMlKem, secretP384, ciphertextP384, publicP384, LABEL);
  const sharedSecret = plain(hash("sha3-256", input, "buffer"));
  wipe(input, secretMlKem, secretP384);
  return sharedSecret;
}
