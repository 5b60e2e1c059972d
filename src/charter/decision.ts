/**
 * Decisions, vetoes, freezes and successions as signed documents (DSSE), and what of them counts. A decision gathers
 * its signatures one by one, on paper-like files that travel; what it says is its payload, and its name the
 * payload's hash, however often it is put into envelopes.
 */
import { z } from "zod";
import { toHex } from "../crypto/bytes.ts";
import { mergeEnvelopes, openEnvelope, signEnvelope } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { charterFields, moment, type StoredCharter } from "./charter.ts";
import { applyOrder, classOf, type Enactment, orderSchema, recordDecision } from "./orders.ts";
import { type Succession, successionSchema } from "./succession.ts";

const { hex } = charterFields;
const text = z.string().min(1).max(4000);

const VALID_SECONDS_MAX = 366 * 86_400;

const decisionSchema = z
  .strictObject({
    kind: z.literal("decision"),
    format: z.literal(1),
    state: hex(32),
    order: orderSchema,
    /** Why, in words, and the law that allows it. */
    reason: text,
    citation: text,
    /** The payload of the charter that its author saw, and the ledger as the author saw it. */
    charter: hex(32),
    checkpoint: z.strictObject({ size: z.int().min(0), root: hex(32) }).optional(),
    /** In the ledger before, or after, it counts for nothing. */
    notBefore: moment,
    notAfter: moment,
    /** Of a destructive order: the announcement that this one carries out; absent in the announcement. */
    carriesOut: hex(32).optional(),
    random: hex(16),
  })
  .refine(({ notBefore, notAfter }) => {
    const seconds = (Date.parse(notAfter) - Date.parse(notBefore)) / 1000;
    return seconds > 0 && seconds <= VALID_SECONDS_MAX;
  }, "a decision is valid for at most a year");
export type Decision = z.infer<typeof decisionSchema>;

const vetoSchema = z.strictObject({
  kind: z.literal("veto"),
  format: z.literal(1),
  state: hex(32),
  decision: hex(32),
  reason: text,
  time: moment,
  random: hex(16),
});
export type Veto = z.infer<typeof vetoSchema>;

const FREEZE_SECONDS_MAX = 14 * 86_400;

const freezeSchema = z
  .strictObject({
    kind: z.literal("freeze"),
    format: z.literal(1),
    state: hex(32),
    from: moment,
    until: moment,
    reason: text,
    random: hex(16),
  })
  .refine(({ from, until }) => {
    const seconds = (Date.parse(until) - Date.parse(from)) / 1000;
    return seconds > 0 && seconds <= FREEZE_SECONDS_MAX;
  }, "a freeze lasts at most 14 days");
export type Freeze = z.infer<typeof freezeSchema>;

const SCHEMAS = {
  decision: decisionSchema,
  veto: vetoSchema,
  freeze: freezeSchema,
  succession: successionSchema,
};
type Papers = { decision: Decision; veto: Veto; freeze: Freeze; succession: Succession };
export type PaperKind = keyof Papers;

/** A paper whose signatures verified. */
export type OpenedPaper<K extends PaperKind> = {
  /** SHA-256 of the payload. */
  readonly id: string;
  readonly paper: Papers[K];
  /** The trusted keys that signed it. */
  readonly keyIds: readonly string[];
  readonly trusted: ReadonlyMap<string, PublicSigningKey>;
  readonly payload: Uint8Array;
  readonly envelope: Uint8Array;
};

export function payloadTypeOf(kind: PaperKind): string {
  return `application/vnd.exclave.${kind}.v1+json`;
}

/** What is signed of a paper. Throws `usage` when it says what no reader would accept. */
export function paperPayload(paper: Papers[PaperKind]): Uint8Array {
  const parsed = SCHEMAS[paper.kind].safeParse(paper);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ExclaveError(
      "usage",
      `a ${paper.kind} cannot say this (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""})`,
      { cause: parsed.error },
    );
  }
  return encodeJson(paper);
}

/** A paper with its first signature. Throws as `paperPayload` does. */
export function signPaper<K extends PaperKind>(
  paper: Papers[K] & { readonly kind: K },
  key: SigningKey,
): Uint8Array {
  return signEnvelope(payloadTypeOf(paper.kind), paperPayload(paper), [key]);
}

/** The same paper with one signature more. Throws `usage` when the key has signed it already. */
export function addSignature(opened: OpenedPaper<PaperKind>, key: SigningKey): Uint8Array {
  if (opened.keyIds.includes(key.id)) {
    throw new ExclaveError("usage", "this key has signed it already. Nothing was changed");
  }
  const type = payloadTypeOf(opened.paper.kind);
  const signed = signEnvelope(type, opened.payload, [key]);
  const trusted = new Map([...opened.trusted, [key.id, key.publicKey]]);
  return mergeEnvelopes([opened.envelope, signed], type, trusted);
}

/**
 * One envelope with the signatures of several that say the same: they come back on as many sticks as
 * there are people. Throws as `openPaper` does for any of them, `usage` when they do not say the same.
 */
export function mergePapers(papers: readonly OpenedPaper<PaperKind>[]): Uint8Array {
  const trusted = new Map(papers.flatMap((paper) => [...paper.trusted]));
  const [first] = papers;
  invariant(first, "there is something to merge");
  const envelopes = papers.map(({ envelope }) => envelope);
  return mergeEnvelopes(envelopes, payloadTypeOf(first.paper.kind), trusted);
}

/**
 * The charter that follows when a decision takes effect; the same for everybody. The announcement of a
 * destructive order is recorded, and changes nothing yet. Throws `usage` as `applyOrder` does.
 */
export function applyDecision(
  before: StoredCharter,
  { id, paper: { order, carriesOut } }: Pick<OpenedPaper<"decision">, "id" | "paper">,
  at: Date,
): StoredCharter {
  const name = `${id} ${at.getTime()}`;
  const followers = FOLLOWERS.get(before) ?? new Map<string, StoredCharter>();
  FOLLOWERS.set(before, followers);
  const known = followers.get(name);
  if (known) return known;
  const follower = followerOf(before, order, carriesOut, { at, decision: id });
  followers.set(name, follower);
  return follower;
}

/** What follows from what never changes; asked for several times by whoever weighs a decision. */
const FOLLOWERS = new WeakMap<StoredCharter, Map<string, StoredCharter>>();

function followerOf(
  before: StoredCharter,
  order: Decision["order"],
  carriesOut: string | undefined,
  enactment: Enactment,
): StoredCharter {
  const { at } = enactment;
  const after = applyOrder(before, order, enactment);
  const isAnnouncement =
    classOf(order, before.charter, at) === "destructive" && carriesOut === undefined;
  return isAnnouncement ? recordDecision(before, enactment) : after;
}

/**
 * Verifies and reads a paper. Signatures by keys that are not in `trusted` are ignored.
 * Throws `untrusted`, `altered` or `malformed` as `openEnvelope` does, `malformed` for what is no such
 * paper (an order of an unknown kind among them), and `foreign-state` for one of another State.
 */
export function openPaper<K extends PaperKind>(
  kind: K,
  envelope: Uint8Array,
  state: string,
  trusted: ReadonlyMap<string, PublicSigningKey>,
): OpenedPaper<K> {
  const { payload, keyIds } = openEnvelope(envelope, payloadTypeOf(kind), trusted);
  const paper = readPayload(kind, payload);
  if (paper.state !== state) {
    throw new ExclaveError("foreign-state", `a ${kind} is another State's`);
  }
  return { id: toHex(sha256(payload)), paper, keyIds, trusted, payload, envelope };
}

/** What a payload says, whoever signed it. Throws `malformed` for what is no such paper. */
export function readPayload<K extends PaperKind>(kind: K, payload: Uint8Array): Papers[K] {
  const parsed = SCHEMAS[kind].safeParse(parseStrictJson(payload));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ExclaveError(
      "malformed",
      `a ${kind} has a form that is not known (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""})`,
      { cause: parsed.error },
    );
  }
  return parsed.data as Papers[K];
}
