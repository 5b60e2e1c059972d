/** A site's own keys: made once, never replaced, never shown. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { wipe } from "../crypto/bytes.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { type LedgerKey, witnessKeyFromSeed } from "../ledger/log-key.ts";
import { makeDirectoryDurably } from "../sites/durable.ts";
import { readSecret, SECRET_BYTES, writeSecretOnce } from "./folder.ts";

export const KEYS_FOLDER = "keys";
const SIGNING_FILE = join(KEYS_FOLDER, "signing.json");
const WITNESS_FILE = join(KEYS_FOLDER, "witness.json");

export type SiteKeys = {
  /** What the charter pins: it endorses the TLS key, and signs receipts and the card. */
  readonly signing: SigningKey;
  /** What cosigns the checkpoints of ledgers. */
  readonly witness: LedgerKey;
};

/** Makes the keys that the site in this folder has not yet. Each has a seed of its own. */
export async function makeKeys(folder: string): Promise<void> {
  await makeDirectoryDurably(join(folder, KEYS_FOLDER));
  for (const file of [SIGNING_FILE, WITNESS_FILE]) {
    const seed = randomBytes(SECRET_BYTES);
    await writeSecretOnce(join(folder, file), seed);
    wipe(seed);
  }
}

/**
 * Reads the keys. Throws `bad-key` when one is not there, is damaged, or may be read by others.
 *
 * @param witnessName the site's C2SP key name
 */
export async function readKeys(folder: string, witnessName: string): Promise<SiteKeys> {
  const signing = await readSecret(join(folder, SIGNING_FILE));
  const witness = await readSecret(join(folder, WITNESS_FILE));
  try {
    return {
      signing: signingKeyFromSeed(signing),
      witness: witnessKeyFromSeed(witness, witnessName),
    };
  } finally {
    wipe(signing, witness);
  }
}
