/**
 * The charter: who may do what, in one State. docs/format.md, "Charter". Pure data: what it says, and
 * whether it is sound; how it changes is in orders.ts, who decides that in thresholds.ts.
 */
import { z } from "zod";
import { fromBase64, toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { checkKemPublicKey } from "../crypto/kem.ts";
import { Remembered } from "../crypto/remembered.ts";
import { parseSigningPublicKey } from "../crypto/signing.ts";
import { encodeJson, parseStrictJson } from "../crypto/strict-json.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const base64 = z.string().min(4).max(16_384);
/**
 * Text that a person reads before signing: letters, digits, marks on letters, spaces and plain
 * punctuation, so that nothing in it is invisible, turns the line around, or closes a quotation.
 */
const label = z
  .string()
  .max(200)
  .regex(/^[\p{L}\p{N}][\p{L}\p{M}\p{N} .,()/&'+-]*$/u)
  .refine(
    (text) => !/\p{Default_Ignorable_Code_Point}/u.test(text) && text === text.normalize("NFC"),
  );
const shortName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,62}$/);
const country = z.string().regex(/^[A-Z]{2}$/);
/** A second that exists: 30 February would be another day to a machine than to a minister. */
export const moment = z
  .string()
  .regex(/^2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  .refine((text) => {
    const time = Date.parse(text);
    return !Number.isNaN(time) && momentOf(new Date(time)) === text;
  });

/** A time as charters and decisions write it, in whole seconds. */
export function momentOf(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
/** Up to a year; nothing of a charter waits longer. */
const delaySeconds = z
  .int()
  .min(0)
  .max(366 * 86_400);

export const SEATS_MAX = 32;

/**
 * A person, as SHA-256("exclave/v1 person" || 0x00 || salt || name): the salt is the State's, in the
 * sealed annex. So one person in two places is seen to be one, and who it is, is not.
 */
const person = hex(32);

const seatSchema = z.strictObject({
  name: shortName,
  office: label,
  institution: label,
  jurisdiction: country,
  /** The seat is vacant from then on. */
  until: moment,
  /** The holder first, then deputies: each person with the key that they sign with. */
  people: z
    .array(z.strictObject({ person, key: base64 }))
    .min(1)
    .max(4),
});
export type Seat = z.infer<typeof seatSchema>;

/** What kinds of orders have in common: how many must sign, and how long everybody can see it coming. */
export const ORDER_CLASSES = ["ordinary", "constitutional", "destructive", "release"] as const;
export type OrderClass = (typeof ORDER_CLASSES)[number];

const thresholdSchema = z.strictObject({
  signatures: z.int().min(1).max(SEATS_MAX),
  /** Each demands so many of the signatures to come from seats of these jurisdictions. */
  groups: z
    .array(
      z.strictObject({
        jurisdictions: z.array(country).min(1).max(SEATS_MAX),
        signatures: z.int().min(1).max(SEATS_MAX),
      }),
    )
    .max(8),
  /** From the moment that the ledger has all its signatures to the moment it can take effect. */
  timelockSeconds: delaySeconds,
  /** Seats that together veto it in that time. */
  vetoSignatures: z.int().min(1).max(SEATS_MAX),
});
export type Threshold = z.infer<typeof thresholdSchema>;

const constitutionSchema = z.strictObject({
  preset: z.enum(["trial", "pilot", "state"]),
  seats: z.array(seatSchema).min(1).max(SEATS_MAX),
  thresholds: z.strictObject({
    ordinary: thresholdSchema,
    constitutional: thresholdSchema,
    destructive: thresholdSchema,
    release: thresholdSchema,
  }),
  /** Seats that together freeze. */
  freezeSignatures: z.int().min(1).max(SEATS_MAX),
});
export type Constitution = z.infer<typeof constitutionSchema>;

const shareSetSchema = z.strictObject({
  setId: hex(16),
  generation: z.int().min(1).max(0xffff_ffff),
  k: z.int().min(1).max(32),
  n: z.int().min(1).max(32),
  secretCommitment: hex(32),
  shareCommitments: z.array(hex(32)).min(1).max(32),
});

const keyHolderSchema = z.strictObject({
  index: z.int().min(0).max(31),
  office: label,
  jurisdiction: country,
  person,
});

const siteSchema = z.strictObject({
  name: shortName,
  country,
  operator: label,
  hazardZone: label,
  /** The signing key of a site that enforces; absent for one that only stores. */
  signing: base64.optional(),
});

const registerSchema = z.strictObject({
  /** Its pseudonym. */
  id: hex(16),
  /** SHA-256 of what is sealed about it: its name, owner and legal basis. */
  details: hex(32),
  /** In the order of the shards; none for a register that is declared and not protected yet. */
  sites: z.array(shortName).max(32),
  k: z.int().min(1).max(32),
  survive: z.int().min(0).max(31),
  epochSeconds: z
    .int()
    .min(3600)
    .max(100 * 366 * 86_400),
  sensitivity: z.enum(["public", "internal", "confidential", "secret"]),
});

const agentSchema = z.strictObject({
  signing: base64,
  term: z.int().min(1),
  /** Pseudonyms of the registers that it may write; all of them when empty. */
  registers: z.array(hex(16)).max(1024),
  quotaBytesPerDay: z.int().min(0),
  quotaObjectsPerDay: z.int().min(0),
  /** What it signed from then on is ignored. */
  suspectFrom: moment.optional(),
});

/** Name, key id and key, as C2SP's signed-note writes them. */
const verifierKey = z
  .string()
  .max(4096)
  .regex(/^[\x21-\x2a\x2c-\x7e]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]+={0,2}$/);

const ledgerSchema = z.strictObject({
  /** The origin line of its checkpoints. */
  origin: z.string().regex(/^[\x21-\x2a\x2c-\x7e]{1,200}$/),
  generation: z.int().min(1),
  /** Verifier keys of the log (c2sp.org/signed-note): Ed25519, then ML-DSA-44. */
  keys: z.array(verifierKey).length(2),
  witnesses: z
    .array(z.strictObject({ name: shortName, keys: z.array(verifierKey).min(1).max(2) }))
    .max(32),
  /** Witnesses that must have cosigned what counts. */
  quorum: z.int().min(0).max(32),
});

const recoverySchema = z.strictObject({
  kem: base64,
  signing: base64,
  shares: shareSetSchema,
  holders: z.array(keyHolderSchema).min(1).max(32),
});

const readerSchema = z.strictObject({ kem: base64, signing: base64 });

/** The forms of a charter's parts, for orders that bring new ones. */
export const charterFields = {
  hex,
  label,
  shortName,
  delaySeconds,
  reader: readerSchema,
  constitution: constitutionSchema,
  recovery: recoverySchema,
  agent: agentSchema,
  site: siteSchema,
  register: registerSchema,
  ledger: ledgerSchema,
};

const charterSchema = z
  .strictObject({
    kind: z.literal("charter"),
    format: z.literal(2),
    /** 1 is the founding charter; each next one names the payload of the one before, and why it came. */
    version: z.int().min(1),
    previous: hex(32).optional(),
    /** The payload of the decision, or of the succession, that it follows from. */
    decision: hex(32).optional(),
    name: label,
    time: moment,
    random: hex(16),
    term: z.int().min(1),
    review: moment,
    crypto: z.literal("exclave/v1"),
    constitution: constitutionSchema,
    recovery: recoverySchema,
    reader: readerSchema.optional(),
    agents: z.array(agentSchema).min(1).max(64),
    sites: z.array(siteSchema).max(32),
    registers: z.array(registerSchema).max(1024),
    ledger: ledgerSchema,
    retentionSeconds: z.int().min(0),
    releaseDelaySeconds: delaySeconds,
    /** SHA-256 of the sealed annex: names of people. */
    annex: hex(32),
  })
  .superRefine((charter, context) => {
    for (const problem of problemsOf(charter))
      context.addIssue({ code: "custom", message: problem });
  });
export type Charter = z.infer<typeof charterSchema>;

/** A charter and the exact bytes that it was read from. */
export type StoredCharter = {
  /** SHA-256 of the bytes. */
  readonly id: string;
  readonly charter: Charter;
  readonly payload: Uint8Array;
};

/** With the signatures of a decision around it, a charter still fits an envelope. */
const CHARTER_BYTES_MAX = 400 * 1024;

/** Reads a charter's payload. Throws `malformed` when its form is not known or it contradicts itself. */
export function readCharter(payload: Uint8Array): StoredCharter {
  const charter = parseCharter(parseStrictJson(payload, { bytesMax: CHARTER_BYTES_MAX }));
  return { id: toHex(sha256(payload)), charter, payload };
}

/** A charter with its members, and those in them, in the order of their schemas. */
function parseCharter(value: unknown): Charter {
  const parsed = charterSchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new ExclaveError(
      "malformed",
      `a charter has a form that is not known (${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""})`,
      { cause: parsed.error },
    );
  }
  return parsed.data;
}

/**
 * The payload of a charter, as it is to be stored: members in the order of the format's tables, whatever
 * order they came in, so that one charter has one spelling. Throws `malformed` as `readCharter` does.
 */
export function writeCharter(charter: Charter): StoredCharter {
  return readCharter(encodeJson(parseCharter(charter)));
}

/** SHA-256 of the constitution alone: what a decision that waits must find unchanged. */
export function constitutionId(charter: Charter): string {
  return toHex(sha256(encodeJson(charter.constitution)));
}

/** What a charter says that cannot be: each a sentence. */
function problemsOf(charter: Omit<Charter, "kind">): string[] {
  const problems: string[] = [];
  const demand = (holds: boolean, problem: string): void => {
    if (!holds) problems.push(problem);
  };
  const { constitution, recovery, ledger } = charter;
  const { seats, thresholds } = constitution;
  const first = charter.version === 1;
  demand(
    (charter.previous === undefined) === first,
    "only the founding charter has none before it",
  );
  demand((charter.decision === undefined) === first, "only the founding charter has no decision");
  demand(areUnique(seats.map(({ name }) => name)), "two seats have one name");
  const people = seats.flatMap((seat) => seat.people);
  const signing = [
    ...people.map(({ key }) => key),
    ...charter.agents.map((agent) => agent.signing),
    recovery.signing,
    ...(charter.reader ? [charter.reader.signing] : []),
    ...charter.sites.flatMap((site) => site.signing ?? []),
  ].map(keyBytes);
  const whole = signing.filter((key) => key !== undefined);
  demand(whole.length === signing.length, "a signing key is none");
  // Both halves: with one of them alone, two keys would be half one.
  for (const half of [whole.map((key) => key.slice(0, 64)), whole.map((key) => key.slice(64))]) {
    demand(areUnique(half), "one key, or half of one, is given twice");
  }
  demand(isKemKey(recovery.kem), "the recovery key is none");
  demand(!charter.reader || isKemKey(charter.reader.kem), "the reader key is none");
  demand(areUnique(people.map((one) => one.person)), "one person has two seats");
  const most = seats.length;
  for (const name of ORDER_CLASSES) {
    const { signatures, groups, timelockSeconds, vetoSignatures } = thresholds[name];
    demand(signatures <= most, `the threshold of ${name} decisions can never be met`);
    demand(2 * signatures > most, `a minority could make ${name} decisions`);
    // Who did not sign can veto; where all must sign, any one can.
    demand(vetoSignatures <= Math.max(1, most - signatures), `nobody could veto ${name} decisions`);
    demand(
      name === "ordinary" ||
        (signatures >= thresholds.ordinary.signatures &&
          timelockSeconds >= thresholds.ordinary.timelockSeconds),
      `${name} decisions are easier than ordinary ones`,
    );
    for (const group of groups) {
      const able = seats.filter(({ jurisdiction }) => group.jurisdictions.includes(jurisdiction));
      demand(
        group.signatures <= signatures && group.signatures <= able.length,
        `a group of ${name} decisions can never be met`,
      );
    }
  }
  demand(constitution.freezeSignatures <= most, "a freeze can never be had");
  const { k, n, shareCommitments } = recovery.shares;
  demand(k <= n && shareCommitments.length === n, "the share set is not k of n");
  demand(
    recovery.holders.length === n && recovery.holders.every(({ index }, i) => index === i),
    "the key holders are not those of the share set",
  );
  demand(areUnique(shareCommitments), "two shares are one");
  demand(areUnique(recovery.holders.map((holder) => holder.person)), "one person holds two shares");
  demand(areUnique(charter.sites.map(({ name }) => name)), "two sites have one name");
  demand(areUnique(charter.registers.map(({ id }) => id)), "two registers have one pseudonym");
  for (const { id, sites, k, survive } of charter.registers) {
    const known = sites.every((name) => charter.sites.some((site) => site.name === name));
    demand(known && areUnique(sites), `register ${id} names sites that there are not`);
    demand(sites.length === 0 || k + survive <= sites.length, `register ${id} has too few sites`);
  }
  demand(
    charter.agents.some(({ term }) => term === charter.term) &&
      charter.agents.every(({ term }) => term <= charter.term),
    "no agent writes in this term",
  );
  demand(
    ledger.keys.every((key) => key.startsWith(`${ledger.origin}+`)),
    "a key of the ledger has another name than its origin",
  );
  demand(areUnique(ledger.keys), "the two keys of the ledger are one");
  demand(areUnique(ledger.witnesses.map(({ name }) => name)), "two witnesses have one name");
  demand(areUnique(ledger.witnesses.flatMap(({ keys }) => keys)), "two witnesses have one key");
  demand(ledger.quorum <= ledger.witnesses.length, "the quorum of witnesses can never be met");
  return problems;
}

/** The key's bytes as hex, or undefined when it is no public signing key in its one spelling. */
function keyBytes(key: string): string | undefined {
  try {
    return toHex(parseSigningPublicKey(fromBase64(key)).bytes);
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    return undefined;
  }
}

function isKemKey(key: string): boolean {
  if (KEM_KEYS.get(key)) return true;
  try {
    checkKemPublicKey(fromBase64(key));
    return KEM_KEYS.keep(key, true);
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    return false;
  }
}

/** A charter has two. */
const KEM_KEYS = new Remembered<true>(64);

function areUnique(values: readonly string[]): boolean {
  return new Set(values).size === values.length;
}
