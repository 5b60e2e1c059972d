/**
 * What the charter says only by its hash, sealed to the recovery key and kept at every site: who the people
 * are, and what registers are called. Whoever has the charter alone learns neither.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import type { Charter } from "../charter/charter.ts";
import { concat, fromBase64, fromHex, toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import type { KemKeyPair } from "../crypto/kem.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { unwrap, wrapTo } from "../crypto/wrap.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import {
  type Annex,
  agentKeys,
  documentRandom,
  openDocument,
  type StoredDocument,
  signDocument,
} from "../vault/documents.ts";
import { type RegisterDetails, registerDetailsSchema, saveAnnex } from "../vault/home.ts";
import type { DocumentId } from "../vault/identifiers.ts";
import type { KnownState } from "../vault/known-state.ts";
import type { SitePlace } from "../vault/open-sites.ts";
import { fetchDocument, namesAt, readEach } from "../vault/site-documents.ts";

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));

const peopleSchema = z.strictObject({
  kind: z.literal("people"),
  format: z.literal(1),
  /** Of the commitments to persons; the State's for good. */
  salt: hex(32),
  people: z.array(z.strictObject({ person: hex(32), name: z.string().min(1).max(200) })).max(256),
  /** The annex that this one adds to, by its digest: who named others could not open it. */
  adds: hex(32).optional(),
  random: hex(16),
});
/** The annex about people. */
export type People = z.infer<typeof peopleSchema>;

/** A person as the charter names them: see `person` in charter.ts. */
export function personOf(salt: string, name: string): string {
  return toHex(sha256(utf8("exclave/v1 person\0"), fromHex(salt, 32), utf8(name)));
}

/** A new annex about people, each name once. */
export function peopleOf(names: readonly string[], salt = toHex(randomBytes(32))): People {
  return {
    kind: "people",
    format: 1,
    salt,
    people: [...new Set(names)].map((name) => ({ person: personOf(salt, name), name })),
    random: documentRandom(),
  };
}

/**
 * An annex about people who join, for who names them where nobody can open the annex in force: it has a salt
 * of its own, and that one is part of it.
 */
export function peopleWhoJoin(names: readonly string[], adds: string): People {
  return { ...peopleOf(names), adds };
}

/** What the charter says of an annex. */
export function digestOf(content: object): string {
  return toHex(sha256(encodeJson(content)));
}

function contextOf(state: string, digest: string): Uint8Array {
  return concat(utf8("exclave/v1 annex\0"), fromHex(state, 32), fromHex(digest, 32));
}

/** Seals an annex to the State's recovery key, signed by the agent. */
export function sealAnnex(
  content: object,
  { state, recovery }: { readonly state: string; readonly recovery: Charter["recovery"] },
  by: { readonly agent: SigningKey; readonly time: Date },
): StoredDocument & { readonly digest: string } {
  const plaintext = encodeJson(content);
  const digest = toHex(sha256(plaintext));
  const publicKey = fromBase64(recovery.kem);
  const { encapsulation, sealed } = wrapTo(publicKey, plaintext, contextOf(state, digest));
  const document = signDocument(
    {
      kind: "annex",
      format: 1,
      state,
      time: by.time.toISOString(),
      random: documentRandom(),
      digest,
      recipient: toHex(sha256(publicKey)),
      algorithm: "MLKEM1024-P384/HKDF-SHA256/A256GCM",
      encapsulation: toBase64(encapsulation),
      sealed: toBase64(sealed),
    },
    [by.agent],
  );
  return { ...document, digest };
}

/** Opens an annex with the recovery key. Throws `altered` when it does not open, or is not what it says. */
export function openAnnex(annex: Annex, key: KemKeyPair): unknown {
  const wrap = {
    encapsulation: fromBase64(annex.encapsulation),
    sealed: fromBase64(annex.sealed),
  };
  const plaintext = unwrap(key, wrap, contextOf(annex.state, annex.digest));
  if (toHex(sha256(plaintext)) !== annex.digest) {
    throw new ExclaveError("altered", "an annex holds something else than it says");
  }
  return parseStrictJson(plaintext);
}

/** The annex about people, when it is one. */
export function readPeople(content: unknown): People | undefined {
  const parsed = peopleSchema.safeParse(content);
  return parsed.success ? parsed.data : undefined;
}

/** What the annexes of a State say. */
export type Annexes = {
  readonly inventory: readonly RegisterDetails[];
  /** What else was sealed, as it is: for who knows what it is. */
  readonly others: readonly unknown[];
};

/**
 * Opens every annex of these digests, and keeps them as they are for the home that is being made. One that no
 * site has is named, and missed.
 */
export async function openAnnexes(
  home: string,
  places: readonly SitePlace[],
  known: KnownState,
  digests: readonly string[],
  key: KemKeyPair,
  onNotice: (notice: string) => void,
): Promise<Annexes> {
  const leaveOut = (id: DocumentId, { message }: ExclaveError): void =>
    onNotice(`annex/${id} was left out: ${message}`);
  const byDigest = new Map<string, DocumentId[]>();
  await readEach(await namesAt(places, "annex", { onNotice }), "annex", {
    onNotice,
    take: (id, bytes) => {
      const { document } = openDocument("annex", bytes, agentKeys(known));
      if (document.state !== known.id) return;
      const same = byDigest.get(document.digest);
      if (same) same.push(id);
      else byDigest.set(document.digest, [id]);
    },
    onLeftOut: leaveOut,
  });
  const inventory: RegisterDetails[] = [];
  const others: unknown[] = [];
  // Grows while an annex about people names another that it adds to.
  const wanted = new Set(digests);
  for (const digest of wanted) {
    const content = await openFirst(
      byDigest.get(digest) ?? [],
      async (id) => {
        const bytes = await fetchDocument(places, "annex", id);
        const opened = openAnnex(openDocument("annex", bytes, agentKeys(known)).document, key);
        await saveAnnex(home, id, bytes);
        return opened;
      },
      leaveOut,
    );
    if (content === undefined) {
      onNotice(`no site has the annex ${digest.slice(0, 16)}`);
      continue;
    }
    const details = registerDetailsSchema.safeParse(content);
    if (details.success) inventory.push(details.data);
    else others.push(content);
    const adds = readPeople(content)?.adds;
    if (adds !== undefined) wanted.add(adds);
  }
  return { inventory, others };
}

/** What the first of these opens to; undefined when none does. */
async function openFirst(
  ids: readonly DocumentId[],
  open: (id: DocumentId) => Promise<unknown>,
  onLeftOut: (id: DocumentId, why: ExclaveError) => void,
): Promise<unknown> {
  for (const id of ids) {
    try {
      return await open(id);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      onLeftOut(id, error);
    }
  }
  return undefined;
}
