/**
 * Records: what happened to the recovery key, and what checks found, signed by the agent and named in the ledger.
 * They decide nothing, and tell later who was asked when, that the key was brought together, and what sites held.
 */
import { z } from "zod";
import { fromBase64 } from "../crypto/bytes.ts";
import { envelopeId, openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import type { SigningKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { agentKeys, documentRandom, shortName } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import type { Generation, KnownState, RecordKind } from "../vault/known-state.ts";

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const index = z.int().min(0).max(31);
const count = z.int().min(0);
/** Sites of a register, and shards of a pack. */
const SITES_MAX = 32;
const set = { setId: hex(16), generation: z.int().min(1) };
const common = {
  kind: z.literal("record"),
  format: z.literal(1),
  state: hex(32),
  time: z.iso.datetime(),
  random: hex(16),
};

const recordSchema = z.discriminatedUnion("what", [
  /** A ceremony: the key was divided, and each share sealed for its holder. */
  z.strictObject({
    ...common,
    what: z.literal("share-set"),
    ...set,
    /** SHA-256 of the ceremony's transcript, and of each kit's file. */
    transcript: hex(32),
    kits: z.array(hex(32)).min(1).max(32),
    /** Digest of the annex that says how receipts are told. */
    custody: hex(32),
  }),
  /** A key holder proved that they can still open their share. */
  z.strictObject({
    ...common,
    what: z.literal("receipt"),
    ...set,
    index,
    /** SHA-256 of the receipt, which is not kept at home; and the request that it answers. */
    receipt: hex(32),
    request: hex(32),
  }),
  /** What a check found. Every host country reads it, so it names no register, no person and no file. */
  z.strictObject({
    ...common,
    what: z.literal("check"),
    /** The pseudonym. */
    register: hex(16),
    /** Every byte was read, not a sample. */
    full: z.boolean(),
    good: z.boolean(),
    /** How many more sites may be lost before something is; negative when something is lost. */
    survives: z.int().min(-SITES_MAX).max(SITES_MAX),
    recoveryPoints: count,
    packs: count,
    /** In the order of the shards. */
    sites: z
      .array(
        z.strictObject({
          name: shortName,
          expected: count,
          missing: count,
          verified: count,
          damaged: count,
          bytesRead: count,
          /** It could not be checked; its counts say nothing then. */
          unavailable: z.boolean(),
        }),
      )
      .min(1)
      .max(SITES_MAX),
  }),
  /** The recovery key was brought together. */
  z.strictObject({
    ...common,
    what: z.literal("opening"),
    ...set,
    purpose: z.enum(["recovery", "reshare", "rotate", "check"]),
    holders: z.array(index).min(1).max(32),
    /** What the receipts answer. */
    challenge: hex(32),
    /** Receipts of those who opened their kits, sealed to who watches abroad; absent where nobody does. */
    sealed: z
      .strictObject({
        encapsulation: z.string().max(4096),
        sealed: z.string().max(512 * 1024),
      })
      .optional(),
  }),
]);
export type LedgerRecord = z.infer<typeof recordSchema>;
/** What a record of a kind says, without what all of them have. */
export type Said<W extends RecordKind> = Omit<
  Extract<LedgerRecord, { what: W }>,
  "kind" | "format" | "state" | "time" | "random" | "what"
>;

const TYPE = "application/vnd.exclave.record.v1+json";

/** A signed record, as it is stored. */
export function signRecord<W extends RecordKind>(
  what: W,
  said: Said<W>,
  by: { readonly state: string; readonly agent: SigningKey; readonly now: Date },
): { readonly kind: W; readonly id: string; readonly bytes: Uint8Array } {
  const record = recordSchema.parse({
    kind: "record",
    format: 1,
    state: by.state,
    what,
    time: by.now.toISOString(),
    random: documentRandom(),
    ...said,
  });
  const bytes = signEnvelope(TYPE, encodeJson(record), [by.agent]);
  return { kind: what, id: envelopeId(bytes), bytes };
}

/** Reads a record, signed by an agent of the State. Throws as `openEnvelope`, `malformed`, `foreign-state`. */
export function openRecord(bytes: Uint8Array, known: KnownState): LedgerRecord {
  return openSigned(bytes, known).record;
}

/** The same, and which agents signed it, by their keys. */
export function openSigned(
  bytes: Uint8Array,
  known: KnownState,
): { readonly record: LedgerRecord; readonly keyIds: readonly string[] } {
  const { payload, keyIds } = openEnvelope(bytes, TYPE, agentKeys(known));
  const record = readPayload(payload);
  if (record.state !== known.id) {
    throw new ExclaveError("foreign-state", "a record is another State's");
  }
  return { record, keyIds };
}

/**
 * What a record says, whoever signed it: for who watches abroad, has no charter at hand, and believes the key
 * holders' own signatures in it alone.
 */
export function readRecord(bytes: Uint8Array): LedgerRecord {
  const envelope = z.object({ payload: z.string() }).safeParse(parseStrictJson(bytes));
  if (!envelope.success) throw new ExclaveError("malformed", "a record is no signed document");
  return readPayload(fromBase64(envelope.data.payload));
}

function readPayload(payload: Uint8Array): LedgerRecord {
  const parsed = recordSchema.safeParse(parseStrictJson(payload));
  if (parsed.success) return parsed.data;
  throw new ExclaveError("malformed", "a record has a form that is not known", {
    cause: parsed.error,
  });
}

export type RecordOf<W extends RecordKind> = Extract<LedgerRecord, { what: W }>;

/** Every record of a kind that home has, in the order of the ledger; what is none is passed over. */
export async function recordsOf<W extends RecordKind>(
  home: Home,
  what: W,
): Promise<readonly RecordOf<W>[]> {
  const { known } = home;
  return home.withGenerations((generations) =>
    recordsIn(generations, what, (id) => home.document(what, id), known),
  );
}

/** The same, of a ledger that was read from the sites. */
export function recordsIn<W extends RecordKind>(
  generations: readonly Generation[],
  what: W,
  document: (id: string) => Uint8Array,
  known: KnownState,
): readonly RecordOf<W>[] {
  const ids = generations.flatMap(({ log, closedAt }) =>
    [...log.entriesOf([what])]
      .filter(({ position }) => position < (closedAt ?? Number.POSITIVE_INFINITY))
      .map(({ envelope }) => envelope),
  );
  return ids.flatMap((id) => {
    try {
      const record = openRecord(document(id), known);
      return record.what === what ? [record as RecordOf<W>] : [];
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      return [];
    }
  });
}
