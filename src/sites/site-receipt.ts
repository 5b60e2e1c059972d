/**
 * A site's receipt: its signed word for what it holds, since when, and how long it promises to keep it.
 * docs/site-protocol.md, section 6.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { toHex } from "../crypto/bytes.ts";
import { openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { parseObjectName } from "./site.ts";
import { RECEIPT_OBJECTS_MAX } from "./wire.ts";

const TYPE = "application/vnd.exclave.site-receipt.v1+json";
const BYTES_MAX = Number.MAX_SAFE_INTEGER;

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const moment = z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
const objectName = z.string().refine((name) => parseObjectName(name) !== undefined);

const receiptSchema = z.strictObject({
  kind: z.literal("site-receipt"),
  format: z.literal(1),
  /** Id of the State. */
  state: hex(32),
  /** Id of the site's signing key. */
  site: hex(32),
  time: moment,
  /** Until then the site keeps all of `objects`. */
  retainUntil: moment,
  /** Name, size in bytes, and when it was stored. */
  objects: z
    .array(z.tuple([objectName, z.int().min(0).max(BYTES_MAX), moment]))
    .max(RECEIPT_OBJECTS_MAX),
  /** What it was asked for and does not hold, or has set aside. */
  missing: z.array(objectName).max(RECEIPT_OBJECTS_MAX),
  random: hex(16),
});

/** What a receipt says. */
export type SiteReceipt = Readonly<z.infer<typeof receiptSchema>>;

/** What a site states in a receipt. */
export type StatedHoldings = {
  /** Id of the State, hex. */
  readonly state: string;
  readonly time: Date;
  readonly retainUntil: Date;
  readonly objects: readonly {
    readonly name: string;
    readonly bytes: number;
    readonly storedAt: Date;
  }[];
  /** Names. */
  readonly missing: readonly string[];
};

/** The site's signed receipt, as it is sent: a DSSE envelope. Moments are cut to whole seconds. */
export function signSiteReceipt(site: SigningKey, stated: StatedHoldings): Uint8Array {
  const receipt = receiptSchema.parse({
    kind: "site-receipt",
    format: 1,
    state: stated.state,
    site: site.id,
    time: second(stated.time),
    retainUntil: second(stated.retainUntil),
    objects: stated.objects.map(({ name, bytes, storedAt }) => [name, bytes, second(storedAt)]),
    missing: stated.missing,
    random: toHex(randomBytes(16)),
  });
  return signEnvelope(TYPE, encodeJson(receipt), [site]);
}

/**
 * What a site's receipt says. Whoever asked for it looks himself whether it speaks of what he asked.
 *
 * Throws `untrusted` when it is signed by another key than the site's or is of another State, `altered`
 * when the signature does not verify, `malformed` for another form and for a name that occurs twice.
 */
export function openSiteReceipt(
  bytes: Uint8Array,
  siteKey: PublicSigningKey,
  state: string,
): SiteReceipt {
  const { payload } = openEnvelope(bytes, TYPE, new Map([[siteKey.id, siteKey]]));
  const parsed = receiptSchema.safeParse(parseStrictJson(payload));
  if (!parsed.success)
    throw new ExclaveError("malformed", "a site's receipt has a form that is not known");
  const receipt = parsed.data;
  if (receipt.site !== siteKey.id || receipt.state !== state) {
    throw new ExclaveError("untrusted", "a receipt is of another site, or for another State");
  }
  const names = [...receipt.objects.map(([name]) => name), ...receipt.missing];
  if (new Set(names).size !== names.length) {
    throw new ExclaveError("malformed", "a site's receipt names an object twice");
  }
  return receipt;
}

/** RFC 3339 in whole seconds, UTC. */
function second(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
