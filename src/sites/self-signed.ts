/**
 * Documents by which somebody makes himself known: signed by the very key that stands in them. That shows that whoever
 * made it has the key; whose key it is, people find out by comparing its fingerprint.
 */
import { z } from "zod";
import { fromBase64 } from "../crypto/bytes.ts";
import { openEnvelope } from "../crypto/dsse.ts";
import { type PublicSigningKey, parseSigningPublicKey } from "../crypto/signing.ts";
import { parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";

/** Such a document is no longer than this, unless it says so. */
export const SELF_SIGNED_BYTES_MAX = 64 * 1024;
const FINGERPRINT_DIGITS = 32;

/** What every one of them has. */
type NamesItsKey = { readonly signing: string };

/** The forms of what stands in them: as the charter has them, which they are taken over into. */
const moment = /^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
export const selfSignedFields = {
  hex: (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`)),
  shortName: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/),
  country: z.string().regex(/^[A-Z]{2}$/),
  label: z
    .string()
    .max(200)
    .regex(/^[\p{L}\p{N}][\p{L}\p{M}\p{N} .,()/&'+-]*$/u)
    .refine(
      (text) => !/\p{Default_Ignorable_Code_Point}/u.test(text) && text === text.normalize("NFC"),
    ),
  moment: z
    .string()
    .regex(moment)
    .refine((text) => !Number.isNaN(Date.parse(text)) && secondOf(new Date(text)) === text),
  /** A public signing key, base64. */
  signing: z.string().max(8192),
};

/** RFC 3339 in whole seconds, UTC. */
export function secondOf(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

/**
 * The document, and the key that it names and that signed it. Throws `malformed` for another form or size, `bad-key`
 * for a key that is none, `altered` or `untrusted` when its own key did not sign it as it is.
 *
 * @param what for messages: "a site's card"
 */
export function openSelfSigned<T extends NamesItsKey>(
  bytes: Uint8Array,
  {
    type,
    schema,
    what,
    bytesMax = SELF_SIGNED_BYTES_MAX,
  }: {
    readonly type: string;
    readonly schema: z.ZodType<T>;
    readonly what: string;
    readonly bytesMax?: number;
  },
): { readonly document: T; readonly key: PublicSigningKey } {
  const unknown = (): ExclaveError =>
    new ExclaveError("malformed", `the file is not ${what}, or of a form that is not known`);
  const read = (payload: Uint8Array): T => {
    const parsed = schema.safeParse(parseStrictJson(payload, { depthMax: 3 }));
    if (!parsed.success) throw unknown();
    return parsed.data;
  };
  const envelope = z
    .object({ payload: z.string() })
    .safeParse(parseStrictJson(bytes, { bytesMax, depthMax: 3 }));
  if (!envelope.success) throw unknown();
  // The key that is to verify it stands in it: that is what it shows.
  const key = parseSigningPublicKey(fromBase64(read(fromBase64(envelope.data.payload)).signing));
  const { payload } = openEnvelope(bytes, type, new Map([[key.id, key]]));
  return { document: read(payload), key };
}

/** The first 128 bits of a key's id in groups, as two people compare them by telephone. */
export function fingerprintOf(keyId: string): string {
  return keyId.slice(0, FINGERPRINT_DIGITS).replaceAll(/(.{4})(?=.)/g, "$1 ");
}
