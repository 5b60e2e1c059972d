/** The recovery key and the reader key: a 32-byte seed each, and what follows from it. Kept by nobody at home. */
import { z } from "zod";
import { fromHex, toHex, utf8 } from "../crypto/bytes.ts";
import { hkdfSha256 } from "../crypto/hash.ts";
import { type KemKeyPair, kemKeyPairFromSeed } from "../crypto/kem.ts";
import { openKeyFile, sealKeyFile } from "../crypto/key-file.ts";
import { type SigningKey, signingKeyFromSeed } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";

export type RecoveryKey = {
  readonly seed: Uint8Array;
  /** Opens the wraps of epoch keys. */
  readonly kem: KemKeyPair;
  /** Signs charters. */
  readonly signing: SigningKey;
};

/** Opens wraps of epoch keys, and signs what it asks sites for. */
export type ReaderKey = Pick<RecoveryKey, "kem" | "signing">;

export function recoveryKeyFromSeed(seed: Uint8Array): RecoveryKey {
  return { seed, ...pairsFromSeed(seed, "recovery") };
}

export function readerKeyFromSeed(seed: Uint8Array): ReaderKey {
  return pairsFromSeed(seed, "reader");
}

/** Derives both key pairs from the seed (HKDF-SHA-256 with distinct infos). */
function pairsFromSeed(seed: Uint8Array, whose: "recovery" | "reader"): ReaderKey {
  const derive = (what: string) =>
    hkdfSha256(seed, new Uint8Array(), utf8(`exclave/v1 ${whose} ${what}`), 32);
  return {
    kem: kemKeyPairFromSeed(derive("kem")),
    signing: signingKeyFromSeed(derive("signing")),
  };
}

const KINDS = ["recovery-key", "reader-key"] as const;
type KeyKind = (typeof KINDS)[number];

const schema = z.strictObject({
  kind: z.enum(KINDS),
  format: z.literal(1),
  stateName: z.string(),
  /** The State's id. */
  state: z.string().regex(/^[0-9a-f]{64}$/),
  seed: z.string().regex(/^[0-9a-f]{64}$/),
});

/** A passphrase-protected age file with a key. */
export async function sealKey(
  kind: KeyKind,
  key: { readonly seed: Uint8Array; readonly state: string; readonly stateName: string },
  passphrase: string,
  workFactor?: number,
): Promise<Uint8Array> {
  const contents = {
    kind,
    format: 1,
    stateName: key.stateName,
    state: key.state,
    seed: toHex(key.seed),
  };
  const options = workFactor === undefined ? {} : { workFactor };
  return sealKeyFile(utf8(`${JSON.stringify(contents)}\n`), passphrase, options);
}

/** Opens such a file. Throws `wrong-passphrase` or `bad-key`. */
export async function openKey(
  kind: KeyKind,
  file: Uint8Array,
  passphrase: string,
): Promise<{ readonly seed: Uint8Array; readonly state: string; readonly stateName: string }> {
  const parsed = schema.safeParse(parseStrictJson(await openKeyFile(file, passphrase)));
  if (!parsed.success || parsed.data.kind !== kind) {
    throw new ExclaveError("bad-key", `the file opens, but it holds no ${kind.replace("-", " ")}`);
  }
  return {
    seed: fromHex(parsed.data.seed, 32),
    state: parsed.data.state,
    stateName: parsed.data.stateName,
  };
}
