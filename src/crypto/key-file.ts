/**
 * Key files: a secret under a passphrase, or sealed to a key that its holder has, in the age format
 * (https://c2sp.org/age, ASCII armor), so that any age tool opens them should Exclave not be at hand.
 */
import { randomBytes } from "node:crypto";
import type { Stanza } from "age-encryption";
import { ExclaveError, invariant } from "../errors.ts";
import { fromUtf8, utf8 } from "./bytes.ts";

export const KEY_FILE_BYTES_MAX = 512 * 1024;
export const KEY_FILE_CONTENTS_BYTES_MAX = 256 * 1024;

/** log2 of scrypt's N: about a second and 256 MiB, age's own default. */
const WORK_FACTOR = 18;
/** Loaded when it is first needed: few commands need it, and it would be a tenth of their start. */
const loadAge = () => import("age-encryption");
const BINARY_HEADER = "age-encryption.org/";

/**
 * Seals 1 to 262144 bytes under a passphrase; takes about a second, on purpose. Throws `usage` for an
 * empty passphrase.
 *
 * @param options.workFactor log2 of scrypt's N, 10 to 20; below 18 only in tests
 * @returns the ASCII-armored file
 */
export async function sealKeyFile(
  contents: Uint8Array,
  passphrase: string,
  options: { readonly workFactor?: number } = {},
): Promise<Uint8Array> {
  const workFactor = options.workFactor ?? WORK_FACTOR;
  invariant(
    Number.isInteger(workFactor) && workFactor >= 10 && workFactor <= 20,
    "a work factor is 10 to 20",
  );
  invariant(
    contents.byteLength > 0 && contents.byteLength <= KEY_FILE_CONTENTS_BYTES_MAX,
    "a key file holds 1 to 262144 bytes",
  );
  checkPassphrase(passphrase);
  const { armor, Encrypter } = await loadAge();
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase);
  encrypter.setScryptWorkFactor(workFactor);
  return utf8(armor.encode(await encrypter.encrypt(contents)));
}

/**
 * The contents of a key file, armored or binary. Throws `wrong-passphrase` when the passphrase does not
 * open it, and `bad-key` when it is damaged, too large, or sealed to something other than a passphrase.
 * Damage to the few bytes that hold the wrapped file key looks like a wrong passphrase; no reader can
 * tell those apart.
 */
export async function openKeyFile(bytes: Uint8Array, passphrase: string): Promise<Uint8Array> {
  if (bytes.byteLength > KEY_FILE_BYTES_MAX) throw badKey("it is larger than 512 KiB");
  checkPassphrase(passphrase);
  const { armor, Decrypter } = await loadAge();
  const isBinary = Buffer.from(bytes).toString("latin1").startsWith(BINARY_HEADER);
  let refusedPassphrase = false;
  try {
    const decrypter = new Decrypter();
    decrypter.addPassphrase(passphrase);
    // Identities are asked in turn, so this one is asked only where the passphrase did not fit.
    decrypter.addIdentity({
      unwrapFileKey(stanzas: readonly Stanza[]) {
        refusedPassphrase = stanzas.some(({ args }) => args[0] === "scrypt");
        return null;
      },
    });
    return await decrypter.decrypt(isBinary ? bytes : armor.decode(fromUtf8(bytes)));
  } catch (cause) {
    if (refusedPassphrase) {
      throw new ExclaveError(
        "wrong-passphrase",
        "The passphrase does not open the key file. The file was not changed; try again, minding upper and lower case.",
        { cause },
      );
    }
    throw badKey("it is not a file that a passphrase opens", cause);
  }
}

/** Recipients have 1960 characters or so, identities fewer; neither is worth reading beyond that. */
const KEY_TEXT_MAX = 4096;

/**
 * Seals 1 to 262144 bytes to any age recipient: a key that its holder has already, in software (`age1…`,
 * `age1pq1…`) or in a device (`age1tag1…`, `age1tagpq1…`, which age's plugins open). Throws `usage` for what is
 * none; recipients carry a checksum.
 *
 * @returns the ASCII-armored file
 */
export async function sealKeyFileTo(contents: Uint8Array, recipient: string): Promise<Uint8Array> {
  invariant(
    contents.byteLength > 0 && contents.byteLength <= KEY_FILE_CONTENTS_BYTES_MAX,
    "a key file holds 1 to 262144 bytes",
  );
  const { armor, Encrypter } = await loadAge();
  const encrypter = new Encrypter();
  try {
    if (recipient.length > KEY_TEXT_MAX) throw new Error("too long");
    encrypter.addRecipient(recipient);
  } catch {
    // Without the cause: whoever mixed up the halves gave the identity, and the message may quote it.
    throw new ExclaveError(
      "usage",
      "What was given is no age recipient: one begins with age1 and is copied whole. Nothing was written; copy it again.",
    );
  }
  return utf8(armor.encode(await encrypter.encrypt(contents)));
}

/**
 * The contents of what `sealKeyFileTo` made, armored or binary. Throws `wrong-passphrase` for what is no age
 * identity, and for one that does not open it; `bad-key` when it is damaged.
 *
 * @param identity begins with `AGE-SECRET-KEY-`
 */
export async function openKeyFileWith(bytes: Uint8Array, identity: string): Promise<Uint8Array> {
  if (bytes.byteLength > KEY_FILE_BYTES_MAX) throw badKey("it is larger than 512 KiB");
  const { armor, Decrypter } = await loadAge();
  const decrypter = new Decrypter();
  let refused = false;
  try {
    if (identity.length > KEY_TEXT_MAX) throw new Error("too long");
    decrypter.addIdentity(identity);
  } catch {
    // Without the cause, which may quote the identity.
    throw new ExclaveError(
      "wrong-passphrase",
      "What was given is no age identity: one begins with AGE-SECRET-KEY- and is copied whole. Nothing was changed.",
    );
  }
  // Identities are asked in turn, so this one is asked only where the first did not fit.
  decrypter.addIdentity({
    unwrapFileKey() {
      refused = true;
      return null;
    },
  });
  const isBinary = Buffer.from(bytes).toString("latin1").startsWith(BINARY_HEADER);
  try {
    return await decrypter.decrypt(isBinary ? bytes : armor.decode(fromUtf8(bytes)));
  } catch (cause) {
    if (!refused) throw badKey("it is damaged", cause);
    throw new ExclaveError(
      "wrong-passphrase",
      "The age identity does not open the key file. The file was not changed; try the identity that it was sealed to.",
      { cause },
    );
  }
}

/** Crockford's base32 alphabet: no i, l, o or u, which get misread. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const GROUPS = 7;
const GROUP_CHARACTERS = 4;

/**
 * A passphrase of 140 random bits, to be written down: seven groups of four characters, such as
 * `7k2m-…-9xqd`. Passphrases are generated rather than chosen.
 *
 * @param random returns that many uniformly random bytes
 */
export function generatePassphrase(random: (length: number) => Uint8Array = randomBytes): string {
  const bytes = random(GROUPS * GROUP_CHARACTERS);
  invariant(
    bytes.byteLength === GROUPS * GROUP_CHARACTERS,
    "random returns as many bytes as asked",
  );
  // 256 is a multiple of 32, so the low five bits of a uniform byte are uniform.
  const characters = Array.from(bytes, (byte) => ALPHABET.charAt(byte & 31));
  return Array.from({ length: GROUPS }, (_, group) =>
    characters.slice(group * GROUP_CHARACTERS, (group + 1) * GROUP_CHARACTERS).join(""),
  ).join("-");
}

function checkPassphrase(passphrase: string): void {
  if (passphrase === "" || !passphrase.isWellFormed()) {
    throw new ExclaveError(
      "usage",
      "The passphrase is empty or not valid text; nothing was read or written.",
    );
  }
}

function badKey(why: string, cause?: unknown): ExclaveError {
  const message = `The key file cannot be used: ${why}. It was not changed; use another copy of it.`;
  return new ExclaveError("bad-key", message, cause === undefined ? undefined : { cause });
}
