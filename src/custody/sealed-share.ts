/**
 * One share, sealed for its holder: twice, always. Each half is an armored age file under a passphrase
 * (crypto/key-file.ts), so that any age tool opens it; its plaintext is strict JSON.
 *
 * **Duress.** The two halves have one length and stand in random order. Both open to the same share; they
 * differ in a *mark*, 16 random bytes. One is sealed under the holder's passphrase; the other under a
 * second passphrase that the holder may have agreed, or else under a random one that nobody knows.
 * Whoever has both halves, and even one passphrase with the share and the mark it opens to, cannot tell
 * whether there is a second passphrase, nor which of the two was used: which mark means duress is known
 * only where `markKey` of both marks was left at the ceremony, in the charter's sealed annex or with
 * signatories abroad. In the room nothing differs: same share, same messages, same time. receipt.ts
 * says what can be told from a mark that left the room, and by whom.
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
/** Both together go onto paper as one text. */
const SEALED_BYTES_MAX = SHARE_TEXT_BYTES_MAX / 2;
/** Room for the 64-character lines of base64 and what stands around them. */
const SEALED_TEXT_MAX = 2 * SEALED_BYTES_MAX;

const sealed = z.string().max(SEALED_TEXT_MAX);
/** Two armored age files; whether they are is `sealedToBytes`' to say. */
export const sealedShareSchema = z.tuple([sealed, sealed]).readonly();
export type SealedShare = z.infer<typeof sealedShareSchema>;

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
): Promise<{
  readonly sealed: SealedShare;
  readonly marks: { readonly usual: string; readonly duress: string };
}> {
  const { workFactor, duressPassphrase, randomBytes = nodeRandomBytes } = options;
  invariant(share.share.byteLength === SECRET_BYTES, "a share is 32 bytes");
  if (duressPassphrase === passphrase) {
    throw new ExclaveError(
      "usage",
      "The second passphrase is the same as the first. Nothing was sealed; choose another one.",
    );
  }
  const draw = (): string => {
    const bytes = randomBytes(MARK_BYTES);
    invariant(bytes.byteLength === MARK_BYTES, "too few random bytes");
    return toHex(bytes);
  };
  const marks = { usual: draw(), duress: draw() };
  invariant(marks.usual !== marks.duress, "two marks differ");
  // One after another: each takes 256 MiB.
  const settings = workFactor === undefined ? {} : { workFactor };
  const usual = await sealOne(share, marks.usual, passphrase, settings);
  const second = duressPassphrase ?? generatePassphrase(randomBytes);
  const duress = await sealOne(share, marks.duress, second, settings);
  invariant(usual.length === duress.length, "both halves have one length");
  const swap = ((randomBytes(1)[0] ?? 0) & 1) === 1;
  return { sealed: swap ? [duress, usual] : [usual, duress], marks };
}

async function sealOne(
  held: HeldShare,
  mark: string,
  passphrase: string,
  settings: { readonly workFactor?: number },
): Promise<string> {
  const { state, setId, generation, index, k, n } = held;
  const share = toHex(held.share);
  const contents = { kind: "share", format: 1, state, setId, generation, index, k, n, share, mark };
  invariant(shareSchema.safeParse(contents).success, "what is sealed can be opened");
  const plaintext = encodeJson(contents);
  try {
    return fromUtf8(await sealKeyFile(plaintext, passphrase, settings));
  } finally {
    wipe(plaintext);
  }
}

/**
 * Opens the two blobs of a kit, from a file or typed from paper, without a kit to hold them against;
 * the caller checks the share with `examineShares` against the charter. Always tries both, so that
 * the time does not tell which one opened; takes some seconds, on purpose.
 *
 * @throws ExclaveError `wrong-passphrase` when it opens neither; `bad-key` when they are damaged, hold something
 *   else, or both open; `usage` for an empty passphrase
 */
export async function openSealed(sealed: SealedShare, passphrase: string): Promise<OpenedShare> {
  const plaintexts: Uint8Array[] = [];
  const failures: unknown[] = [];
  for (const armored of sealed) {
    try {
      plaintexts.push(await openKeyFile(utf8(armored), passphrase));
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

/**
 * Both blobs without armor, one behind the other: what `encodeShareText` puts on paper. Throws
 * `malformed` unless they are two different age files of one length, armored exactly as age writes it.
 */
export function sealedToBytes(sealed: SealedShare): Uint8Array {
  const [first, second] = [dearmor(sealed[0]), dearmor(sealed[1])];
  if (first.byteLength !== second.byteLength || sealed[0] === sealed[1]) {
    throw new ExclaveError("malformed", "a sealed share has two halves of one length");
  }
  return concat(first, second);
}

/** The two blobs from what `sealedToBytes` gave. Throws `malformed` for an impossible length. */
export function sealedFromBytes(bytes: Uint8Array): SealedShare {
  const half = bytes.byteLength / 2;
  if (!Number.isInteger(half) || half === 0 || half > SEALED_BYTES_MAX) {
    throw new ExclaveError("malformed", "a sealed share has two halves of one length");
  }
  return [armor(bytes.subarray(0, half)), armor(bytes.subarray(half))];
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
