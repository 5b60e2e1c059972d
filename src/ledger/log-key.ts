/**
 * The key of a ledger or of a witness: an Ed25519 key, for the signatures that every C2SP client knows,
 * and an ML-DSA-44 key, for the day when Ed25519 falls. Stored is the seed alone.
 *
 * A seed belongs to one name and one office. The Ed25519 messages of logs and of witnesses cannot be
 * confused, but they name no signer (C2SP tlog-cosignature asks for a key for each cosigner).
 */
import type { KeyObject } from "node:crypto";
import { wipe } from "../crypto/bytes.ts";
import { hkdfSha256 } from "../crypto/hash.ts";
import { ED25519, exportPublic, importPrivate, ML_DSA_44 } from "../crypto/key-objects.ts";
import { ExclaveError } from "../errors.ts";
import {
  COSIGNATURE_ED25519,
  COSIGNATURE_ML_DSA_44,
  NOTE_ED25519,
  type SignatureType,
  type VerifierKey,
  verifierKey,
} from "./note.ts";

export const LEDGER_KEY_SEED_BYTES = 32;

/** One half of a ledger key: what signs, and what verifies it. */
export interface SigningHalf {
  readonly privateKey: KeyObject;
  readonly verifier: VerifierKey;
}

/** A pair of keys, for the signature types of one office. */
export interface LedgerKey {
  /** A ledger's origin, or a witness's name. */
  readonly name: string;
  readonly ed25519: SigningHalf;
  readonly mlDsa44: SigningHalf;
}

/** The public half of a ledger key, Ed25519 first; both must have signed. */
export type LedgerVerifierKeys = readonly [VerifierKey, VerifierKey];

/**
 * A log's key: signature types 0x01 and 0x06. The name is the origin of the ledger.
 *
 * Throws `bad-key` for a seed of other than 32 bytes, and `malformed` for a name that is no key name.
 */
export function logKeyFromSeed(seed: Uint8Array, name: string): LedgerKey {
  return fromSeed(seed, name, NOTE_ED25519);
}

/** A witness's key: signature types 0x04 and 0x06. Throws as `logKeyFromSeed` does. */
export function witnessKeyFromSeed(seed: Uint8Array, name: string): LedgerKey {
  return fromSeed(seed, name, COSIGNATURE_ED25519);
}

/** What others need to verify the key's signatures. */
export function verifierKeysOf(key: LedgerKey): LedgerVerifierKeys {
  return [key.ed25519.verifier, key.mlDsa44.verifier];
}

function fromSeed(seed: Uint8Array, name: string, ed25519Type: SignatureType): LedgerKey {
  if (seed.byteLength !== LEDGER_KEY_SEED_BYTES)
    throw new ExclaveError("bad-key", "the seed of a ledger key has 32 bytes");
  const salt = new Uint8Array();
  const seedEd25519 = hkdfSha256(seed, salt, "exclave/v1 ledger key ed25519", ED25519.privateBytes);
  const seedMlDsa44 = hkdfSha256(
    seed,
    salt,
    "exclave/v1 ledger key ml-dsa-44",
    ML_DSA_44.privateBytes,
  );
  try {
    const ed25519 = importPrivate(ED25519, seedEd25519);
    const mlDsa44 = importPrivate(ML_DSA_44, seedMlDsa44);
    return {
      name,
      ed25519: {
        privateKey: ed25519,
        verifier: verifierKey(name, ed25519Type, exportPublic(ED25519, ed25519)),
      },
      mlDsa44: {
        privateKey: mlDsa44,
        verifier: verifierKey(name, COSIGNATURE_ML_DSA_44, exportPublic(ML_DSA_44, mlDsa44)),
      },
    };
  } finally {
    wipe(seedEd25519, seedMlDsa44);
  }
}
