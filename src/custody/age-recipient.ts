/**
 * Sealing to a key that the holder has already, in place of a passphrase: age's native post-quantum
 * kind (https://c2sp.org/age, MLKEM768-X25519). Its public half, the recipient, begins with `age1pq1`;
 * the secret half, the identity, with `AGE-SECRET-KEY-PQ-1`. The older `age1…` is X25519 alone: a kit
 * may lie in a safe for decades, and what was copied there would fall to a quantum computer.
 */
import { ExclaveError } from "../errors.ts";

/** Loaded when it is first needed, as in crypto/key-file.ts. */
const loadAge = () => import("age-encryption");

/** Recipients have 1960 characters or so, identities 77; neither is worth reading beyond that. */
const KEY_TEXT_MAX = 4096;

/**
 * Throws `usage`, saying why, for anything but a post-quantum recipient of age. It finds a slip in
 * typing: recipients carry a checksum.
 */
export async function checkRecipient(recipient: string): Promise<void> {
  if (recipient.startsWith("age1") && !recipient.startsWith("age1pq1")) {
    throw new ExclaveError(
      "usage",
      "A share is sealed to post-quantum age recipients only, which begin with age1pq1, and this one begins otherwise: a kit is kept for decades, and X25519 alone may not last so long. Nothing was sealed; make a key with `age-keygen -pq`.",
    );
  }
  const { Encrypter } = await loadAge();
  try {
    if (recipient.length > KEY_TEXT_MAX) throw new Error("too long");
    new Encrypter().addRecipient(recipient);
  } catch {
    // Without the cause: whoever mixed up the halves gave the identity, and the message may quote it.
    throw new ExclaveError(
      "usage",
      "What was given is no age recipient: one begins with age1pq1 and is copied whole. Nothing was sealed; copy it again.",
    );
  }
}

/** Seals to a recipient. Throws as `checkRecipient`. Returns the ASCII-armored age file. */
export async function sealToRecipient(contents: Uint8Array, recipient: string): Promise<string> {
  await checkRecipient(recipient);
  const { armor, Encrypter } = await loadAge();
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return armor.encode(await encrypter.encrypt(contents));
}

/**
 * The contents of what `sealToRecipient` made.
 *
 * @throws ExclaveError `wrong-passphrase` for what is no post-quantum identity, and for one that does not open
 *   it; `bad-key` when it is damaged. Damage to the wrapped file key looks like another identity
 */
export async function openWithIdentity(armored: string, identity: string): Promise<Uint8Array> {
  const { armor, Decrypter } = await loadAge();
  const decrypter = new Decrypter();
  let refused = false;
  try {
    const typed = identity.trim();
    if (typed.length > KEY_TEXT_MAX || !typed.startsWith("AGE-SECRET-KEY-PQ-1")) throw new Error();
    decrypter.addIdentity(typed);
    // Identities are asked in turn, so this one is asked only where the first did not fit.
    decrypter.addIdentity({
      unwrapFileKey() {
        refused = true;
        return null;
      },
    });
  } catch {
    // Without the cause, which may quote the identity.
    throw new ExclaveError(
      "wrong-passphrase",
      "This kit opens with its holder's age identity, which begins with AGE-SECRET-KEY-PQ-1, and what was typed is none. Nothing was changed; type or paste the whole identity.",
    );
  }
  try {
    return await decrypter.decrypt(armor.decode(armored));
  } catch (cause) {
    if (refused) {
      throw new ExclaveError(
        "wrong-passphrase",
        "The age identity does not open this kit. Nothing was changed; try the identity of the recipient that the kit was sealed to.",
        { cause },
      );
    }
    throw new ExclaveError(
      "bad-key",
      "The sealed share cannot be used: it is damaged. Nothing was changed; use another copy of the kit.",
      { cause },
    );
  }
}
