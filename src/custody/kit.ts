/**
 * The kit of one key holder: a file that opens, by itself and with the holder's passphrase or age
 * identity, to one share, and that says what it belongs to. docs/format.md, "Kits".
 */
import { z } from "zod";
import { concat, fromHex, utf8, wipe } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { inGroups, toBase32 } from "./base32.ts";
import { type OpenedShare, openSealed, sealedShareSchema, sealedToBytes } from "./sealed-share.ts";
import { examineShares, holderIndexSchema, shareSetSchema, stateIdSchema } from "./share-set.ts";

/** Of the file; some 60 QR codes, which is more than anybody will scan. */
export const KIT_BYTES_MAX = 32 * 1024;
/** The instructions that kit-page.ts prints; a kit names the ones that it was printed with. */
export const INSTRUCTIONS_VERSION = 1;
const FINGERPRINT_BYTES = 15;
const FILE_NAME_STATE_MAX = 60;

const FINGERPRINT_LABEL = concat(utf8("exclave/v1 fingerprint"), Uint8Array.of(0));

const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => value.isWellFormed());
const label = text(200);
const hash = z.string().regex(/^[0-9a-f]{64}$/);

const kitSchema = z
  .strictObject({
    kind: z.literal("kit"),
    format: z.literal(1),
    /** Version of the instructions that were printed with it. */
    instructions: z.int().min(1).max(1000),
    stateName: label,
    /** The State's id. */
    state: stateIdSchema,
    /** `fingerprint(state)`. */
    fingerprint: z.string().max(40),
    /** Of the founding charter, which is the State's id, and of the charter that the set stands in. */
    foundingHash: hash,
    charterHash: hash,
    /** The ledger's head when the kit was made. */
    checkpoint: z
      .strictObject({
        origin: label,
        size: z.int().min(0),
        root: hash,
      })
      .readonly()
      .optional(),
    /** As C2SP's signed-note writes verifier keys, or their ids. */
    witnessKeys: z.array(text(4096)).max(16).readonly(),
    sites: z
      .array(
        z
          .strictObject({
            name: label,
            /** ISO 3166-1 alpha-2. */
            country: z.string().regex(/^[A-Z]{2}$/),
            operator: label,
            /** An address, a URL, a building: whatever leads there. */
            where: text(500),
          })
          .readonly(),
      )
      .max(32)
      .readonly(),
    /** SHA-256 of the packed program that the sites hold. */
    program: hash.optional(),
    set: shareSetSchema,
    /** An office or a label, so that the five kits on a table can be told apart; needs no person's name. */
    holder: label,
    index: holderIndexSchema,
    sealed: sealedShareSchema,
  })
  .readonly();
export type Kit = z.infer<typeof kitSchema>;

/**
 * The State's fingerprint, for people to compare: the first 120 bits of
 * SHA-256("exclave/v1 fingerprint" || 0x00 || State id), as six groups of four Crockford characters
 * with dashes. So long, because who founds a State chooses its charter, and could search for two that
 * look alike. Programs compare the State's id.
 *
 * @param state 64 hexadecimal digits
 */
export function fingerprint(state: string): string {
  const digest = sha256(FINGERPRINT_LABEL, fromHex(state, 32));
  return inGroups(toBase32(digest.subarray(0, FINGERPRINT_BYTES)), "-");
}

/**
 * The kit file: strict JSON on one line, with a line break. Throws `usage` for a kit that `decodeKit`
 * would refuse, and writes nothing then.
 */
export function encodeKit(kit: Kit): Uint8Array {
  const { kit: sound, fault } = inspect(kit);
  if (sound === undefined) {
    throw new ExclaveError("usage", `A kit cannot say this: ${fault}. It was not written.`);
  }
  const bytes = concat(encodeJson(sound), utf8("\n"));
  if (bytes.byteLength > KIT_BYTES_MAX) {
    throw new ExclaveError(
      "usage",
      `A kit has room for ${KIT_BYTES_MAX} bytes, and this one would have ${bytes.byteLength}; name fewer sites or witnesses. It was not written.`,
    );
  }
  return bytes;
}

/**
 * Reads a kit file of at most 32 KiB. Throws `malformed` for another form, and for a kit whose own
 * parts do not agree. It says nothing yet of whether the kit is genuine: the charter does.
 */
export function decodeKit(bytes: Uint8Array): Kit {
  const json = parseStrictJson(bytes, { bytesMax: KIT_BYTES_MAX, depthMax: 4 });
  const { kit, fault } = inspect(json);
  if (kit === undefined) {
    throw new ExclaveError("malformed", `The file is no kit that can be used: ${fault}.`);
  }
  return kit;
}

/** The kit, or why it is none, in words that quote nothing of it. */
function inspect(
  value: unknown,
):
  | { readonly kit: Kit; readonly fault?: never }
  | { readonly kit?: never; readonly fault: string } {
  const parsed = kitSchema.safeParse(value);
  if (!parsed.success) {
    // Paths consist of our own names and numbers; names of unknown members are not in them.
    const path = parsed.error.issues[0]?.path.join(".") ?? "";
    return { fault: path === "" ? "its form is not known" : `the form of "${path}" is not known` };
  }
  const fault = contradiction(parsed.data);
  return fault === undefined ? { kit: parsed.data } : { fault };
}

/** Where the parts of a kit do not agree. */
function contradiction(kit: Kit): string | undefined {
  const { state, set, index, sealed } = kit;
  if (kit.fingerprint !== fingerprint(state)) return "the fingerprint is not the State's";
  if (index >= set.n) return "it is numbered beyond the number of key holders";
  try {
    sealedToBytes(sealed);
  } catch {
    return "the sealed share is neither two age files of one length nor one to a recipient";
  }
  return undefined;
}

/**
 * Opens a kit's share, checks that it is the one that the kit names, and that it fits its commitment.
 *
 * @param opener the holder's passphrase; of a kit that was sealed to a recipient, the age identity
 * @throws ExclaveError as `openSealed` does, and `bad-key` when the share is another one than the kit says
 */
export async function openShare(kit: Kit, opener: string): Promise<OpenedShare> {
  const opened = await openSealed(kit.sealed, opener);
  const { share } = opened;
  const { good, refused } = examineShares([share], kit.set, kit.state);
  if (good.length === 1 && share.index === kit.index) return opened;
  wipe(share.share);
  const why = refused[0]?.reason ?? `that of key holder ${share.index + 1}`;
  throw new ExclaveError(
    "bad-key",
    `What was typed opens the kit of key holder ${kit.index + 1}, and the share in it is not the one that the kit names: it is ${why}. The kit was put together wrongly or altered; use another copy of it.`,
  );
}

/**
 * What the two files of a kit are called, such as `belize-key-holder-3-of-5-generation-1.kit.json`:
 * lower-case letters of ASCII, digits and dashes, whatever the State's name is. Two generations of
 * one holder's kit can lie in one folder.
 */
export function kitFileNames(kit: Pick<Kit, "stateName" | "index" | "set">): {
  readonly kit: string;
  readonly page: string;
} {
  const { stateName, index, set } = kit;
  const plain = stateName.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const state = plain
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, FILE_NAME_STATE_MAX)
    .replace(/^-+|-+$/g, "");
  const name = `${state || "state"}-key-holder-${index + 1}-of-${set.n}-generation-${set.generation}`;
  return { kit: `${name}.kit.json`, page: `${name}.html` };
}
