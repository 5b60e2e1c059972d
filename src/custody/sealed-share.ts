/**
 * One share, sealed for its holder: under passphrases, and then twice, always; or once, to the holder's
 * own key (age-recipient.ts), with which there is nothing to agree for duress. Each is an armored age
 * file, so that any age tool opens it; its plaintext is strict JSON.
 *
 * **Duress.** The two halves have one length and stand in random order. Both open to the same share; they
 * differ in a *mark*, 16 random bytes. One is sealed under the holder's passphrase; the other under a
 * second passphrase that the holder may have agreed, or else under a random one that nobody knows.
 * Whoever has both halves, and even one passphrase with the share and the mark it opens to, cannot tell
 * whether there is a second passphrase, nor which of the two was used: which mark means duress is known
 * only where `markKey` of both marks was left at the ceremony, in the charter's sealed annex or with
 * signatories abroad. In the room nothing differs: same share, same messages, same time. receipt.ts
 * says what can be told from a mark that left the room, and by whom. A share sealed to a recipient has
 * one mark, and a second one is drawn that is sealed nowhere: what is kept abroad has one form.
 */
import { randomBytes as nodeRandomBytes } from "node:crypto";
import { z } from "zod";
import {
  concat,
  fromBase64,
  fromHex,
  fromUtf8,
  toBase64,
  toHex,
  utf8,
  wipe,
} from "../crypto/bytes.ts";
import { generatePassphrase, openKeyFile, sealKeyFile } from "../crypto/key-file.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { openWithIdentity, sealToRecipient } from "./age-recipient.ts";
import {
  generationSchema,
  type HeldShare,
  holderCountSchema,
  holderIndexSchema,
  SECRET_BYTES,
  setIdSchema,
  stateIdSchema,
} from "./share-set.ts";
import { SHARE_TEXT_BYTES_MAX } from "./share-text.ts";

export const MARK_BYTES = 16;
/** Of one age file; two of them go onto paper as one text. One to a recipient has some 1950 bytes. */
const SEALED_BYTES_MAX = SHARE_TEXT_BYTES_MAX / 2;
/** Room for the 64-character lines of base64 and what stands around them. */
const SEALED_TEXT_MAX = 2 * SEALED_BYTES_MAX;

const sealed = z.string().max(SEALED_TEXT_MAX);
/**
 * Armored age files: two under passphrases, or one to a recipient; whether they are is `sealedToBytes`'
 * to say.
 */
export const sealedShareSchema = z.union([
  z.tuple([sealed, sealed]).readonly(),
  z.tuple([sealed]).readonly(),
]);
export type SealedShare = z.infer<typeof sealedShareSchema>;

/** The marks of a sealed share, each 32 hexadecimal digits. */
export interface Marks {
  readonly usual: string;
  readonly duress: string;
}

/** What is sealed: the age plaintext. */
const shareSchema = z.strictObject({
  kind: z.literal("share"),
  format: z.literal(1),
  state: stateIdSchema,
  setId: setIdSchema,
  generation: generationSchema,
  index: holderIndexSchema,
  k: holderCountSchema,
  n: holderCountSchema,
  share: z.string().regex(new RegExp(`^[0-9a-f]{${SECRET_BYTES * 2}}$`)),
  mark: z.string().regex(new RegExp(`^[0-9a-f]{${MARK_BYTES * 2}}$`)),
});

/** An opened share. The caller wipes its bytes. */
export interface OpenedShare {
  readonly share: HeldShare;
  /** 32 hexadecimal digits, for the receipt; to be shown nowhere. */
  readonly mark: string;
}

export interface SealOptions {
  /** A second passphrase, agreed for duress. Whether there is one shows in nothing that is written. */
  readonly duressPassphrase?: string;
  /** log2 of scrypt's N; below 18 only in tests. */
  readonly workFactor?: number;
  readonly randomBytes?: (count: number) => Uint8Array;
}

/**
 * Seals a share for its holder, always twice (see above). Takes some seconds, on purpose. Of the
 * result the blobs go into the kit; the marks become `markKey`s at once (receipt.ts), which leave the
 * room for where duress is to be noticed, and are then forgotten.
 *
 * @throws ExclaveError `usage` for an empty passphrase, and when both are the same
 */
export async function sealShare(
  share: HeldShare,
  passphrase: string,
  options: SealOptions = {},
): Promise<{ readonly sealed: readonly [string, string]; readonly marks: Marks }> {
  const { workFactor, duressPassphrase, randomBytes = nodeRandomBytes } = options;
  if (duressPassphrase === passphrase) {
    throw new ExclaveError(
      "usage",
      "The second passphrase is the same as the first. Nothing was sealed; choose another one.",
    );
  }
  const marks = drawMarks(randomBytes);
  // One after another: each takes 256 MiB.
  const settings = workFactor === undefined ? {} : { workFactor };
  const seal = async (mark: string, secret: string): Promise<string> =>
    withContents(share, mark, async (contents) =>
      fromUtf8(await sealKeyFile(contents, secret, settings)),
    );
  const usual = await seal(marks.usual, passphrase);
  const duress = await seal(marks.duress, duressPassphrase ?? generatePassphrase(randomBytes));
  invariant(usual.length === duress.length, "both halves have one length");
  const swap = ((randomBytes(1)[0] ?? 0) & 1) === 1;
  return { sealed: swap ? [duress, usual] : [usual, duress], marks };
}

/**
 * Seals a share to its holder's own key: once, with one of the two marks (see above).
 *
 * @param recipient begins with `age1pq1`; others are `usage`
 */
export async function sealShareTo(
  share: HeldShare,
  recipient: string,
  randomBytes: (count: number) => Uint8Array = nodeRandomBytes,
): Promise<{ readonly sealed: readonly [string]; readonly marks: Marks }> {
  const marks = drawMarks(randomBytes);
  const armored = await withContents(share, marks.usual, (contents) =>
    sealToRecipient(contents, recipient),
  );
  return { sealed: [armored], marks };
}

function drawMarks(randomBytes: (count: number) => Uint8Array): Marks {
  const draw = (): string => {
    const bytes = randomBytes(MARK_BYTES);
    invariant(bytes.byteLength === MARK_BYTES, "too few random bytes");
    return toHex(bytes);
  };
  const marks = { usual: draw(), duress: draw() };
  invariant(marks.usual !== marks.duress, "two marks differ");
  return marks;
}

/** Hands out the plaintext of a share with a mark, and wipes it. */
async function withContents(
  held: HeldShare,
  mark: string,
  seal: (contents: Uint8Array) => Promise<string>,
): Promise<string> {
  const { state, setId, generation, index, k, n } = held;
  const share = toHex(held.share);
  const contents = { kind: "share", format: 1, state, setId, generation, index, k, n, share, mark };
  invariant(shareSchema.safeParse(contents).success, "what is sealed can be opened");
  const plaintext = encodeJson(contents);
  try {
    return await seal(plaintext);
  } finally {
    wipe(plaintext);
  }
}

/**
 * Opens the blobs of a kit, from a file or typed from paper, without a kit to hold them against;
 * the caller checks the share with `examineShares` against the charter. Of two always tries both, so
 * that the time does not tell which one opened; takes some seconds, on purpose.
 *
 * @param opener the passphrase; of a share that was sealed to a recipient, the identity
 * @throws ExclaveError `wrong-passphrase` when it opens none; `bad-key` when they are damaged, hold something
 *   else, or both open; `usage` for an empty passphrase
 */
export async function openSealed(sealed: SealedShare, opener: string): Promise<OpenedShare> {
  if (sealed.length === 1) {
    const plaintext = await openWithIdentity(sealed[0], opener);
    try {
      return readShare(plaintext);
    } finally {
      wipe(plaintext);
    }
  }
  const plaintexts: Uint8Array[] = [];
  const failures: unknown[] = [];
  for (const armored of sealed) {
    try {
      plaintexts.push(await openKeyFile(utf8(armored), opener));
    } catch (error) {
      failures.push(error);
    }
  }
  try {
    const [plaintext] = plaintexts;
    if (plaintext === undefined) throw whyNot(failures);
    if (plaintexts.length > 1) {
      // Its mark would mean both. No kit is made so; one that is would be made to deceive.
      throw badKey("one passphrase opens both halves of it, as in no kit that Exclave made");
    }
    return readShare(plaintext);
  } finally {
    wipe(...plaintexts);
  }
}

function readShare(plaintext: Uint8Array): OpenedShare {
  let parsed: z.infer<typeof shareSchema>;
  try {
    parsed = shareSchema.parse(parseStrictJson(plaintext, { bytesMax: 4096, depthMax: 1 }));
  } catch {
    // Without the cause, which may quote what was sealed.
    throw badKey("it opens, and holds something other than a share");
  }
  const { state, setId, generation, index, k, n, mark } = parsed;
  const share = fromHex(parsed.share, SECRET_BYTES);
  return { share: { state, setId, generation, index, k, n, share }, mark };
}

function whyNot(failures: readonly unknown[]): unknown {
  const other = failures.find(
    (error) => !isExclaveError(error, "wrong-passphrase") && !isExclaveError(error, "bad-key"),
  );
  if (other !== undefined) return other;
  const damaged = failures.filter((error) => isExclaveError(error, "bad-key"));
  if (damaged.length === 0) {
    return new ExclaveError(
      "wrong-passphrase",
      "The passphrase does not open this kit. Nothing was changed; try again, minding upper and lower case.",
      { cause: failures[0] },
    );
  }
  return badKey(
    damaged.length === failures.length
      ? "it is damaged"
      : "half of it is damaged, and the passphrase does not open the other half",
    damaged[0],
  );
}

function badKey(why: string, cause?: unknown): ExclaveError {
  return new ExclaveError(
    "bad-key",
    `The sealed share cannot be used: ${why}. Nothing was changed; use another copy of the kit.`,
    cause === undefined ? undefined : { cause },
  );
}

const ARMOR_BEGIN = "-----BEGIN AGE ENCRYPTED FILE-----";
const ARMOR_END = "-----END AGE ENCRYPTED FILE-----";
const ARMOR_COLUMNS = 64;

/** How age files of the two kinds begin (https://c2sp.org/age): the version, then the first stanza. */
const SCRYPT_BEGIN = utf8("age-encryption.org/v1\n-> scrypt ");
const RECIPIENT_BEGIN = utf8("age-encryption.org/v1\n-> mlkem768x25519 ");

/**
 * The blobs without armor, one behind the other: what `encodeShareText` puts on paper. Throws
 * `malformed` unless they are two different age files of one length under passphrases, or one to a
 * post-quantum recipient, armored exactly as age writes it.
 */
export function sealedToBytes(sealed: SealedShare): Uint8Array {
  const blobs = sealed.map(dearmor);
  const begin = sealed.length === 1 ? RECIPIENT_BEGIN : SCRYPT_BEGIN;
  if (
    blobs.some((blob) => !startsWith(blob, begin) || blob.byteLength !== blobs[0]?.byteLength) ||
    sealed[0] === sealed[1]
  ) {
    throw impossible();
  }
  return concat(...blobs);
}

/** The blobs from what `sealedToBytes` gave. Throws `malformed` for an impossible length. */
export function sealedFromBytes(bytes: Uint8Array): SealedShare {
  const one = startsWith(bytes, RECIPIENT_BEGIN);
  const length = one ? bytes.byteLength : bytes.byteLength / 2;
  if (!Number.isInteger(length) || length === 0 || length > SEALED_BYTES_MAX) throw impossible();
  return one ? [armor(bytes)] : [armor(bytes.subarray(0, length)), armor(bytes.subarray(length))];
}

function startsWith(bytes: Uint8Array, begin: Uint8Array): boolean {
  return begin.every((byte, i) => bytes[i] === byte);
}

function impossible(): ExclaveError {
  return new ExclaveError(
    "malformed",
    "a sealed share has two halves of one length under passphrases, or is one file to a recipient",
  );
}

function armor(bytes: Uint8Array): string {
  const lines = toBase64(bytes).match(new RegExp(`.{1,${ARMOR_COLUMNS}}`, "g")) ?? [];
  return [ARMOR_BEGIN, ...lines, ARMOR_END, ""].join("\n");
}

/** Of armor exactly as age writes it, so that one blob has one spelling. Throws `malformed`. */
function dearmor(armored: string): Uint8Array {
  const bytes = fromBase64(
    armored.slice(ARMOR_BEGIN.length, -ARMOR_END.length - 1).replaceAll("\n", ""),
  );
  if (bytes.byteLength === 0 || bytes.byteLength > SEALED_BYTES_MAX || armor(bytes) !== armored) {
    throw new ExclaveError("malformed", "text is not age's armor");
  }
  return bytes;
}
