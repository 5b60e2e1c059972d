/**
 * A site's endorsement of its TLS key: the charter pins the site's signing key, and that one says which key
 * its connections have, so that certificates change without a decision. docs/site-protocol.md, section 2.
 */
import { createHash, type KeyObject, randomBytes } from "node:crypto";
import { z } from "zod";
import { fromBase64, toBase64, toHex } from "../crypto/bytes.ts";
import { openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import {
  type PublicSigningKey,
  parseSigningPublicKey,
  type SigningKey,
} from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";

const TYPE = "application/vnd.exclave.endorsement.v1+json";
/** An endorsement is no longer than this on the wire. */
export const ENDORSEMENT_BYTES_MAX = 64 * 1024;
const VALID_SECONDS_MAX = 400 * 86_400;

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const moment = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);

const endorsementSchema = z.strictObject({
  kind: z.literal("endorsement"),
  format: z.literal(1),
  /** Id of the site's signing key. */
  site: hex(32),
  signing: z.string().max(16_384),
  /** SHA-256 of the SubjectPublicKeyInfo of the TLS key. */
  tls: hex(32),
  notBefore: moment,
  notAfter: moment,
  random: hex(16),
});

/** SHA-256 of a key's SubjectPublicKeyInfo, lower-case hex: what an endorsement names. */
export function tlsKeyId(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** The site's word for a TLS key, from one time to another, as it is sent. */
export function signEndorsement(
  site: SigningKey,
  tls: string,
  valid: { readonly from: Date; readonly until: Date },
): Uint8Array {
  const second = (time: Date): string => `${time.toISOString().slice(0, 19)}Z`;
  const endorsement = endorsementSchema.parse({
    kind: "endorsement",
    format: 1,
    site: site.id,
    signing: toBase64(site.publicKey.bytes),
    tls,
    notBefore: second(valid.from),
    notAfter: second(valid.until),
    random: toHex(randomBytes(16)),
  });
  return signEnvelope(TYPE, encodeJson(endorsement), [site]);
}

export type ExpectedEndorsement = {
  /** The key that the charter pins; undefined to learn which one it is. */
  readonly site: PublicSigningKey | undefined;
  /** `tlsKeyId` of the connection's key. */
  readonly tls: string;
  readonly now: Date;
};

/**
 * The site's key, when it endorses the key of this connection now. Throws `untrusted` when it is not the key that
 * is expected, or endorses another or at another time, and as `openEnvelope` does.
 */
export function openEndorsement(
  bytes: Uint8Array,
  expected: ExpectedEndorsement,
): PublicSigningKey {
  return readEndorsement(bytes, expected).site;
}

/** As `openEndorsement`, with the time until which the endorsement holds. */
export function readEndorsement(
  bytes: Uint8Array,
  expected: ExpectedEndorsement,
): { readonly site: PublicSigningKey; readonly until: Date } {
  const site = expected.site ?? claimedKey(bytes);
  const { payload } = openEnvelope(bytes, TYPE, new Map([[site.id, site]]));
  const parsed = endorsementSchema.safeParse(parseStrictJson(payload));
  if (!parsed.success)
    throw new ExclaveError("malformed", "an endorsement has a form that is not known");
  const { site: id, tls, notBefore, notAfter } = parsed.data;
  const [from, until] = [Date.parse(notBefore), Date.parse(notAfter)];
  const now = expected.now.getTime();
  if (id !== site.id || tls !== expected.tls) {
    throw new ExclaveError(
      "untrusted",
      "the connection is to somebody else than the site: its TLS key is not endorsed",
    );
  }
  if (!(from <= now && now < until) || until - from > VALID_SECONDS_MAX * 1000) {
    throw new ExclaveError(
      "untrusted",
      `the site's endorsement of its TLS key is good from ${notBefore} to ${notAfter}, and by this machine's clock it is ${expected.now.toISOString()}`,
    );
  }
  return { site, until: new Date(until) };
}

/** The key that an endorsement says it is signed by. */
function claimedKey(bytes: Uint8Array): PublicSigningKey {
  const envelope = z.object({ payload: z.string() }).safeParse(parseStrictJson(bytes));
  const said = envelope.success
    ? endorsementSchema.safeParse(parseStrictJson(fromBase64(envelope.data.payload)))
    : undefined;
  if (!said?.success)
    throw new ExclaveError("malformed", "an endorsement has a form that is not known");
  return parseSigningPublicKey(fromBase64(said.data.signing));
}
