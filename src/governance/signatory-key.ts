/**
 * A signatory's key, and the card that shows it. The key is an age file that its holder keeps; the card is
 * public, says who holds it by virtue of which office, and is signed by the key itself, so that nobody gives
 * another's key for their own. It goes to whoever drafts the charter, and proves no more than that: that the
 * person is who the card says, people see when they take it.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { type Charter, charterFields, moment } from "../charter/charter.ts";
import { fromBase64, fromHex, toBase64, toHex, wipe } from "../crypto/bytes.ts";
import { openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import {
  KEY_FILE_BYTES_MAX,
  openKeyFile,
  openKeyFileWith,
  sealKeyFile,
  sealKeyFileTo,
} from "../crypto/key-file.ts";
import {
  type PublicSigningKey,
  parseSigningPublicKey,
  SIGNING_SEED_BYTES,
  type SigningKey,
  signingKeyFromSeed,
} from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { documentRandom } from "../vault/documents.ts";

const { label, hex } = charterFields;
const CARD_TYPE = "application/vnd.exclave.signatory.v1+json";
const CARD_BYTES_MAX = 32 * 1024;

const cardSchema = z.strictObject({
  kind: z.literal("signatory"),
  format: z.literal(1),
  /** Of the person. It stays out of the charter, which has the office. */
  name: label,
  office: label,
  institution: label,
  jurisdiction: z.string().regex(/^[A-Z]{2}$/),
  /** The seat is vacant from then on. */
  until: moment,
  /** The public key, base64. */
  key: z.string().max(8192),
  random: hex(16),
});
export type Card = z.infer<typeof cardSchema>;

/** What a card says of a person. */
export type Signatory = Pick<Card, "name" | "office" | "institution" | "jurisdiction" | "until">;

const keySchema = z.strictObject({
  kind: z.literal("signatory-key"),
  format: z.literal(1),
  seed: hex(SIGNING_SEED_BYTES),
});

/** What closes a key file. */
export type KeyFileSeal =
  /** `workFactor`: log2 of scrypt's N; below 18 only in tests. */
  | { readonly passphrase: string; readonly workFactor?: number }
  /** Any age recipient: `age1…`, `age1pq1…`, or one of a device. */
  | { readonly recipient: string };

/** What opens a key file; one that was opened elsewhere, by age and a plugin of its, needs nothing. */
export type KeyFileOpener =
  | { readonly passphrase: string }
  | { readonly identity: string }
  | { readonly opened: true };

/** A new signing key: the age file for its holder, and the card. */
export type NewSignatoryKey = {
  readonly id: string;
  readonly keyFile: Uint8Array;
  readonly card: Uint8Array;
};

/** Makes a signing key and its card. Throws `usage` for what no card can say, and for a wrong recipient. */
export async function newSignatoryKey(who: Signatory, seal: KeyFileSeal): Promise<NewSignatoryKey> {
  const seed = randomBytes(SIGNING_SEED_BYTES);
  const contents = encodeJson({ kind: "signatory-key", format: 1, seed: toHex(seed) });
  try {
    const key = signingKeyFromSeed(seed);
    const card = cardOf(who, key);
    const keyFile =
      "recipient" in seal
        ? await sealKeyFileTo(contents, seal.recipient)
        : await sealKeyFile(
            contents,
            seal.passphrase,
            seal.workFactor === undefined ? {} : { workFactor: seal.workFactor },
          );
    return { id: key.id, keyFile, card };
  } finally {
    wipe(seed, contents);
  }
}

function cardOf({ name, office, institution, jurisdiction, until }: Signatory, key: SigningKey) {
  const card: Card = {
    kind: "signatory",
    format: 1,
    name,
    office,
    institution,
    jurisdiction,
    until,
    key: toBase64(key.publicKey.bytes),
    random: documentRandom(),
  };
  const parsed = cardSchema.safeParse(card);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ExclaveError(
      "usage",
      `a card cannot say this (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). Nothing was made; names and offices are letters, digits and plain punctuation`,
      { cause: parsed.error },
    );
  }
  return signEnvelope(CARD_TYPE, encodeJson(card), [key]);
}

/** A key file that is open: the JSON that is sealed in it, such as `age --decrypt` writes. */
export function isOpenedKeyFile(file: Uint8Array): boolean {
  return file[0] === "{".charCodeAt(0);
}

/**
 * The signing key in a key file. Throws `wrong-passphrase` when what was given does not open it, and `bad-key`
 * for a file that is damaged or holds something else.
 */
export async function openSignatoryKey(
  file: Uint8Array,
  opener: KeyFileOpener,
): Promise<SigningKey> {
  const contents = await openContents(file, opener);
  try {
    const parsed = keySchema.safeParse(parsedOf(contents));
    if (!parsed.success) throw noKey();
    const seed = fromHex(parsed.data.seed, SIGNING_SEED_BYTES);
    try {
      return signingKeyFromSeed(seed);
    } finally {
      wipe(seed);
    }
  } finally {
    wipe(contents);
  }
}

async function openContents(file: Uint8Array, opener: KeyFileOpener): Promise<Uint8Array> {
  if ("passphrase" in opener) return openKeyFile(file, opener.passphrase);
  if ("identity" in opener) return openKeyFileWith(file, opener.identity);
  if (file.byteLength > KEY_FILE_BYTES_MAX) throw noKey();
  return Uint8Array.from(file);
}

function parsedOf(contents: Uint8Array): unknown {
  try {
    return parseStrictJson(contents, { bytesMax: 1024, depthMax: 1 });
  } catch {
    // Without the cause: what was sealed is a secret.
    throw noKey();
  }
}

function noKey(): ExclaveError {
  return new ExclaveError(
    "bad-key",
    "the file opens, but it holds no signatory's key. Nothing was changed; give the .key.age file that `exclave signatory new` made",
  );
}

/** A card whose signature by its own key verified. */
export type OpenedCard = { readonly card: Card; readonly key: PublicSigningKey };

/**
 * Reads a card. Throws `malformed` for what is none, `bad-key` for a key that is none, and `altered` or
 * `untrusted` when its own key did not sign it as it is.
 */
export function readCard(bytes: Uint8Array): OpenedCard {
  const claimed = parseStrictJson(bytes, { bytesMax: CARD_BYTES_MAX, depthMax: 3 });
  const envelope = z.object({ payload: z.string() }).safeParse(claimed);
  if (!envelope.success) throw noCard();
  // The key that is to verify the card stands in it: that is what it shows.
  const { key } = readPayload(fromBase64(envelope.data.payload));
  const publicKey = parseSigningPublicKey(fromBase64(key));
  const trusted = new Map([[publicKey.id, publicKey]]);
  const { payload } = openEnvelope(bytes, CARD_TYPE, trusted, { bytesMax: CARD_BYTES_MAX });
  return { card: readPayload(payload), key: publicKey };
}

function readPayload(payload: Uint8Array): Card {
  const parsed = cardSchema.safeParse(parseStrictJson(payload, { depthMax: 1 }));
  if (!parsed.success) throw noCard();
  return parsed.data;
}

function noCard(): ExclaveError {
  return new ExclaveError(
    "malformed",
    "the file is no signatory's card: `exclave signatory new` makes one, as NAME.card.json",
  );
}

type Seat = Charter["constitution"]["seats"][number];

/**
 * The seats of cards: for each the holder's card, then deputies'. A seat is called by its office, and has the
 * holder's institution, jurisdiction and end.
 *
 * @param personOf the charter's name for a person, by the name on the card
 * @throws ExclaveError `usage` when a person or a key is there twice
 */
export function seatsOfCards(
  groups: readonly (readonly OpenedCard[])[],
  personOf: (name: string) => string,
): readonly Seat[] {
  const cards = groups.flat().map(({ card }) => card);
  for (const [what, values] of [
    ["person", cards.map(({ name }) => name)],
    ["key", cards.map(({ key }) => key)],
  ] as const) {
    if (new Set(values).size === values.length) continue;
    throw new ExclaveError(
      "usage",
      `one ${what} is on two of the cards; each seat has people of its own. Nothing was changed`,
    );
  }
  const taken = new Set<string>();
  return groups.flatMap((group) => {
    const [holder] = group;
    if (!holder) return [];
    const { office, institution, jurisdiction, until } = holder.card;
    const name = freeName(office, taken);
    taken.add(name);
    return {
      name,
      office,
      institution,
      jurisdiction,
      until,
      people: group.map(({ card }) => ({ person: personOf(card.name), key: card.key })),
    };
  });
}

const NAME_MAX = 48;

/** A short name of an office that no seat has yet: "minister-of-justice", then "minister-of-justice-2". */
function freeName(office: string, taken: ReadonlySet<string>): string {
  const plain = office
    .normalize("NFD")
    .toLowerCase()
    .replaceAll(/\p{M}/gu, "")
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, NAME_MAX);
  const name = plain === "" ? "seat" : plain;
  for (let count = 1; ; count++) {
    const candidate = count === 1 ? name : `${name}-${count}`;
    if (!taken.has(candidate)) return candidate;
  }
}
