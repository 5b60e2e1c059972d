/**
 * The public, signed documents of the vault: statement, wrap, site. DSSE envelopes over strict JSON; a
 * document's id is the SHA-256 of its envelope's bytes. docs/format.md, "Documents".
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { keyCommitment } from "../crypto/aead.ts";
import { fromBase64, toBase64, toHex } from "../crypto/bytes.ts";
import { envelopeId, openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import type { KemKeyPair } from "../crypto/kem.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { unwrap, wrapTo } from "../crypto/wrap.ts";
import { ExclaveError } from "../errors.ts";
import { EPOCH_KEY_BYTES, epochContextBytes } from "./epoch-keys.ts";
import { type DocumentId, type EpochContext, idFromBytes, parseId } from "./identifiers.ts";
import type { KnownState } from "./known-state.ts";
import { FRAME_BYTES_MAX } from "./pack.ts";

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const base64 = z.string().max(16_384);
const time = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/)
  .refine((text) => !Number.isNaN(Date.parse(text)));
const count = z.int().min(0);
/** Epochs are 4 bytes wherever they are bound into keys and shards. */
const epochNumber = z.int().min(1).max(0xffffffff);
/** An epoch's number divided by this is its term. */
const EPOCHS_PER_TERM = 65_536;
/** A root is one chunk, so there is room for so many parts in it. */
export const PARTS_MAX = 64;
const label = z.string().min(1).max(200);
/** Names of registers, parts and sites: safe as a file name everywhere. */
export const shortName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/);

/** 16 random bytes in every document, so that no hash of one can be guessed. */
export function documentRandom(): string {
  return toHex(randomBytes(16));
}

const statementSchema = z.strictObject({
  kind: z.literal("statement"),
  format: z.literal(1),
  state: hex(32),
  register: hex(16),
  epoch: epochNumber,
  /** Commits to the epoch's key: of several wraps, the one that holds it counts. */
  epochKeyId: hex(32),
  term: z.int().min(1),
  /** 1, 2, 3 … within the register, over all epochs. */
  sequence: z.int().min(1),
  agent: hex(32),
  time,
  random: hex(16),
  /** The statement before, of the same register. */
  previous: hex(32).optional(),
  /** The pack that holds the snapshot's root, and the chunk in it that is the root. */
  root: z.strictObject({ pack: hex(16), chunk: hex(32) }),
  /** Manifests of the packs that came since the previous statement of this epoch. */
  manifests: z.array(hex(32)).max(4096),
});
export type Statement = z.infer<typeof statementSchema>;

const wrapSchema = z.strictObject({
  kind: z.literal("wrap"),
  format: z.literal(1),
  state: hex(32),
  register: hex(16),
  epoch: epochNumber,
  epochKeyId: hex(32),
  term: z.int().min(1),
  time,
  random: hex(16),
  recipient: z.enum(["recovery", "reader"]),
  /** ML-KEM-1024 + P-384, HKDF-SHA-256, AES-256-GCM. */
  algorithm: z.literal("MLKEM1024-P384/HKDF-SHA256/A256GCM"),
  encapsulation: base64,
  sealed: base64,
});
export type EpochWrap = z.infer<typeof wrapSchema>;

const annexSchema = z.strictObject({
  kind: z.literal("annex"),
  format: z.literal(1),
  state: hex(32),
  time,
  random: hex(16),
  /** SHA-256 of what is sealed, which begins with a random value of its own; the charter names it. */
  digest: hex(32),
  /** The recovery key's public KEM key, by its SHA-256. */
  recipient: hex(32),
  algorithm: z.literal("MLKEM1024-P384/HKDF-SHA256/A256GCM"),
  encapsulation: base64,
  sealed: z.string().max(512 * 1024),
});
export type Annex = z.infer<typeof annexSchema>;

const siteSchema = z.strictObject({
  kind: z.literal("site"),
  format: z.literal(1),
  state: hex(32),
  stateName: label,
  time,
  random: hex(16),
  name: shortName,
  country: z.string().regex(/^[A-Z]{2}$/),
  operator: label,
  hazardZone: label,
});
export type SiteDocument = z.infer<typeof siteSchema>;

/** The document kinds and their schemas; the DSSE payload type follows from the kind. */
const SCHEMAS = {
  statement: statementSchema,
  wrap: wrapSchema,
  annex: annexSchema,
  site: siteSchema,
};
type Documents = { statement: Statement; wrap: EpochWrap; annex: Annex; site: SiteDocument };
export type DocumentKind = keyof Documents;

/** A document as stored: exact bytes and their hash. */
export type StoredDocument = {
  /** SHA-256 of the bytes, and of the payload in them. */
  readonly id: DocumentId;
  readonly payloadId: DocumentId;
  readonly bytes: Uint8Array;
};

function payloadType(kind: DocumentKind): string {
  return `application/vnd.exclave.${kind}.v1+json`;
}

/** Signs a document. Throws `usage` when it has not the form that a reader would accept. */
export function signDocument<K extends DocumentKind>(
  document: Documents[K] & { readonly kind: K },
  keys: readonly SigningKey[],
): StoredDocument {
  requireForm(document.kind, SCHEMAS[document.kind], document);
  const payload = encodeJson(document);
  const bytes = signEnvelope(payloadType(document.kind), payload, keys);
  return { id: objectId(bytes), payloadId: payloadIdOf(payload), bytes };
}

function objectId(envelope: Uint8Array): DocumentId {
  return parseId("DocumentId", envelopeId(envelope));
}

function payloadIdOf(payload: Uint8Array): DocumentId {
  return idFromBytes("DocumentId", sha256(payload));
}

/** What is written is held to the form of what is read, so nothing is stored that is refused later. */
function requireForm(what: string, schema: z.ZodType, value: unknown): void {
  const parsed = schema.safeParse(value);
  if (parsed.success) return;
  const [issue] = parsed.error.issues;
  throw new ExclaveError(
    "usage",
    `a ${what} cannot say this (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}). It was not written`,
    { cause: parsed.error },
  );
}

/** A document whose signature verified, and by whom it was signed. */
export type Opened<K extends DocumentKind> = {
  /** SHA-256 of the envelope: the name of the object. */
  readonly id: DocumentId;
  /** SHA-256 of the payload: what was said, however often it was put into envelopes. */
  readonly payloadId: DocumentId;
  readonly document: Documents[K];
  readonly keyIds: readonly string[];
};

/**
 * Verifies and reads a document of the kind. Throws `untrusted`, `altered` or `malformed` as
 * `openEnvelope` does, and `malformed` for fields that the kind does not have.
 */
export function openDocument<K extends DocumentKind>(
  kind: K,
  bytes: Uint8Array,
  trusted: ReadonlyMap<string, PublicSigningKey>,
): Opened<K> {
  const { payload, keyIds } = openEnvelope(bytes, payloadType(kind), trusted);
  return {
    id: objectId(bytes),
    payloadId: payloadIdOf(payload),
    document: parsePayload(kind, payload),
    keyIds,
  };
}

function parsePayload<K extends DocumentKind>(kind: K, payload: Uint8Array): Documents[K] {
  const parsed = SCHEMAS[kind].safeParse(parseStrictJson(payload));
  if (!parsed.success) {
    throw new ExclaveError("malformed", `a ${kind} has a form that is not known`, {
      cause: parsed.error,
    });
  }
  return parsed.data as Documents[K];
}

/** The keys of a State's agents, for `openDocument`. */
export function agentKeys({ agents }: KnownState): ReadonlyMap<string, PublicSigningKey> {
  return new Map([...agents].map(([id, { key }]) => [id, key]));
}

/** The public name of an epoch key: its commitment (HMAC-SHA-256) in the epoch's context, hexadecimal. */
export function epochKeyIdOf(epochKey: Uint8Array, context: EpochContext): string {
  return toHex(keyCommitment(epochKey, epochContextBytes(context)));
}

function wrapContext(context: EpochContext, recipient: EpochWrap["recipient"]): Uint8Array {
  return Buffer.concat([
    Buffer.from(`exclave/v1 epoch key\0${recipient}\0`),
    epochContextBytes(context),
  ]);
}

/** Wraps an epoch key to the recovery or the reader key. */
export function wrapEpochKey(
  epochKey: Uint8Array,
  context: EpochContext,
  to: { readonly recipient: EpochWrap["recipient"]; readonly publicKey: Uint8Array },
  by: { readonly agent: SigningKey; readonly term: number; readonly time: Date },
): StoredDocument {
  const { encapsulation, sealed } = wrapTo(
    to.publicKey,
    epochKey,
    wrapContext(context, to.recipient),
  );
  return signDocument(
    {
      kind: "wrap",
      format: 1,
      state: context.state,
      register: context.register,
      epoch: context.epoch,
      epochKeyId: epochKeyIdOf(epochKey, context),
      term: by.term,
      time: by.time.toISOString(),
      random: documentRandom(),
      recipient: to.recipient,
      algorithm: "MLKEM1024-P384/HKDF-SHA256/A256GCM",
      encapsulation: toBase64(encapsulation),
      sealed: toBase64(sealed),
    },
    [by.agent],
  );
}

/** Opens a wrap with the key it is addressed to. Throws `altered` when it does not open. */
export function unwrapEpochKey(wrap: EpochWrap, key: KemKeyPair): Uint8Array {
  const context = epochOf(wrap);
  const secret = unwrap(
    key,
    { encapsulation: fromBase64(wrap.encapsulation), sealed: fromBase64(wrap.sealed) },
    wrapContext(context, wrap.recipient),
  );
  if (secret.length !== EPOCH_KEY_BYTES || epochKeyIdOf(secret, context) !== wrap.epochKeyId) {
    throw new ExclaveError("altered", "a wrap holds another key than it says");
  }
  return secret;
}

/** The epoch that a statement or wrap speaks of. */
export function epochOf(document: Statement | EpochWrap): EpochContext {
  return {
    state: parseId("StateId", document.state),
    register: parseId("RegisterId", document.register),
    epoch: document.epoch,
  };
}

/** The first epoch of a term. Epochs are numbered within their term, so no two homes share a number. */
export function firstEpochOf(term: number): number {
  return term * EPOCHS_PER_TERM;
}

/** True for an epoch that was begun in the term. */
export function isEpochOf(term: number, epoch: number): boolean {
  return Math.floor(epoch / EPOCHS_PER_TERM) === term;
}

/**
 * Accepts a wrap: signed by the agent of the term in which its epoch was begun, or of a later one. Throws `untrusted`
 * otherwise, `foreign-state` for another State's.
 */
export function openWrap(bytes: Uint8Array, known: KnownState): Opened<"wrap"> {
  const opened = openDocument("wrap", bytes, agentKeys(known));
  const { state, term, epoch } = opened.document;
  requireState(state, known);
  const byAgentOfTerm = opened.keyIds.some((id) => known.agents.get(id)?.term === term);
  // A later agent may wrap it again, to a recovery key that replaced another; which key it is, the id says.
  if (!byAgentOfTerm || epoch < firstEpochOf(1) || epoch >= firstEpochOf(term + 1)) {
    throw new ExclaveError(
      "untrusted",
      "a wrap is not by an agent of its epoch's term, or of a later one",
    );
  }
  return opened;
}

function requireState(state: string, known: KnownState): void {
  if (state === known.id) return;
  throw new ExclaveError("foreign-state", "a document belongs to another State");
}

/**
 * Accepts a statement: signed by an agent of the charter, in a term and of a register that are that
 * agent's. Whether it counts is for the ledger to say. Throws `untrusted` otherwise, `foreign-state` for
 * another State's.
 */
export function openStatement(bytes: Uint8Array, known: KnownState): Opened<"statement"> {
  const opened = openDocument("statement", bytes, agentKeys(known));
  const { document, keyIds } = opened;
  requireState(document.state, known);
  const agent = known.agents.get(document.agent);
  if (
    !agent ||
    !keyIds.includes(document.agent) ||
    agent.term !== document.term ||
    !isEpochOf(document.term, document.epoch)
  ) {
    throw new ExclaveError("untrusted", "a statement is not by an agent of its term");
  }
  if (agent.registers.length > 0 && !agent.registers.includes(document.register)) {
    throw new ExclaveError(
      "untrusted",
      "a statement is of a register that its agent may not write",
    );
  }
  return opened;
}

const streamSchema = z.strictObject({
  /** How often the list of chunks is itself a stream; 0 when `chunks` are the content. */
  depth: z.int().min(0).max(8),
  bytes: count,
  chunks: z
    .array(z.strictObject({ id: hex(32), bytes: z.int().min(1).max(FRAME_BYTES_MAX) }))
    .max(1024),
});
/** A byte string of any length in chunks. */
export type StreamRef = z.infer<typeof streamSchema>;

const rootSchema = z.strictObject({
  kind: z.literal("snapshot"),
  format: z.literal(1),
  state: hex(32),
  register: hex(16),
  epoch: epochNumber,
  term: z.int().min(1),
  sequence: z.int().min(1),
  time,
  name: shortName,
  /** False when some entries could not be read. */
  complete: z.boolean(),
  k: z.int().min(1).max(32),
  /** Losses that the write quorum provides for: w = k + survive. */
  survive: z.int().min(0).max(31),
  sites: z
    .array(
      z.strictObject({ name: shortName, country: z.string(), operator: label, hazardZone: label }),
    )
    .min(1)
    .max(32),
  parts: z
    .array(
      z.strictObject({
        name: shortName,
        kind: z.enum(["files", "stream"]),
        /** Where it was protected from, for people. */
        source: z.string().max(65_536),
        excludes: z.array(z.string().max(4096)).max(1024),
        oneFileSystem: z.boolean(),
        entries: streamSchema,
        files: count,
        bytes: count,
      }),
    )
    .min(1)
    .max(PARTS_MAX),
  /** Exactly the index segments that this snapshot uses. */
  index: z
    .array(z.strictObject({ packs: z.array(hex(16)).max(4096), segment: streamSchema }))
    .max(64),
});
/** What a snapshot consists of; sealed in a tail pack. */
export type SnapshotRoot = z.infer<typeof rootSchema>;

/** A root is one chunk, so it is no longer than this. */
export const ROOT_BYTES_MAX = 1024 * 1024;

export function encodeRoot(root: SnapshotRoot): Uint8Array {
  requireForm("recovery point", rootSchema, root);
  return encodeJson(root, { bytesMax: ROOT_BYTES_MAX });
}

/** Reads a root and holds it against the statement that names it. Throws `malformed` or `altered`. */
export function decodeRoot(bytes: Uint8Array, statement: Statement): SnapshotRoot {
  const parsed = rootSchema.safeParse(parseStrictJson(bytes, { bytesMax: ROOT_BYTES_MAX }));
  if (!parsed.success) {
    throw new ExclaveError("malformed", "the root of a snapshot has a form that is not known", {
      cause: parsed.error,
    });
  }
  const root = parsed.data;
  for (const field of ["state", "register", "epoch", "term", "sequence", "time"] as const) {
    if (root[field] !== statement[field]) {
      throw new ExclaveError(
        "altered",
        `the root of a snapshot and its statement differ in ${field}`,
      );
    }
  }
  return root;
}
