/**
 * A site's card: who and where it is, how it is reached and which keys it has, signed by the site's own key. Its
 * operator hands it to a State, which admits the site by it; both compare the key's fingerprint by voice.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { toBase64, toHex } from "../crypto/bytes.ts";
import { signEnvelope } from "../crypto/dsse.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { openSelfSigned, secondOf, selfSignedFields } from "./self-signed.ts";

const TYPE = "application/vnd.exclave.site-card.v1+json";

const { hex, shortName, country, label, moment, signing } = selfSignedFields;

/** "https://host" or "https://host:port", in the one spelling of the WHATWG URL standard. */
export const siteUrl = z
  .string()
  .max(300)
  .refine(
    (text) => text.startsWith("https://") && URL.canParse(text) && new URL(text).origin === text,
  );

/** As C2SP's signed-note writes them: name, key id and key. What type a key has is seen where it is used. */
const verifierKey = z
  .string()
  .max(4096)
  .regex(/^[\x21-\x2a\x2c-\x7e]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}$/);

const cardSchema = z.strictObject({
  kind: z.literal("site-card"),
  format: z.literal(1),
  /** As the site calls itself; a State may give it another. */
  name: shortName,
  country,
  operator: label,
  hazardZone: label,
  url: siteUrl,
  signing,
  /** Its keys as a witness: Ed25519, then ML-DSA-44. */
  witness: z.array(verifierKey).length(2),
  /** On what it stores; with "s3" an engine behind it, which may have an operator of its own. */
  storage: z.enum(["directory", "s3"]),
  time: moment,
  random: hex(16),
});
export type SiteCard = Readonly<z.infer<typeof cardSchema>>;

/** What a card says of a site, its key aside. */
export type StatedSite = Omit<SiteCard, "kind" | "format" | "signing" | "time" | "random">;

/** The card, as it is handed out: a DSSE envelope. Throws `usage` for what no card can say. */
export function signSiteCard(site: SigningKey, stated: StatedSite, now: Date): Uint8Array {
  const parsed = cardSchema.safeParse({
    ...stated,
    kind: "site-card",
    format: 1,
    signing: toBase64(site.publicKey.bytes),
    time: secondOf(now),
    random: toHex(randomBytes(16)),
  });
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ExclaveError(
      "usage",
      `a card cannot say this (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Nothing was made; names are letters, digits and plain punctuation`,
      { cause: parsed.error },
    );
  }
  return signEnvelope(TYPE, encodeJson(parsed.data), [site]);
}

/** A card whose signature by the key that it names verified. Throws as `openSelfSigned` does. */
export function openSiteCard(bytes: Uint8Array): {
  readonly card: SiteCard;
  readonly key: PublicSigningKey;
} {
  const { document, key } = openSelfSigned(bytes, {
    type: TYPE,
    schema: cardSchema,
    what: "a site's card, such as `exclave site init` makes",
  });
  return { card: document, key };
}
