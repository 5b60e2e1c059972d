/**
 * A pouch: objects for one site on a medium that a courier carries. docs/site-protocol.md, section 10.
 *
 *   pouch.json            what is in it, signed by the agent; written last: without it there is no pouch
 *   lists/SHA-256         the names of its objects, some thousands each
 *   objects/              the objects, as a site in a directory has them
 *   program.tgz           the packed program, when it is sent along
 *   receipts/             what the site signs for it
 *
 * The signature stands in for those of the requests that would have brought the objects over the network: a site takes
 * from a pouch what it would have taken from its agent, and checks every byte of it in the same way.
 */
import { z } from "zod";
import { fromUtf8, toBase64, toHex, utf8 } from "../crypto/bytes.ts";
import { ENVELOPE_BYTES_MAX, signEnvelope } from "../crypto/dsse.ts";
import { sha256 } from "../crypto/hash.ts";
import type { PublicSigningKey, SigningKey } from "../crypto/signing.ts";
import { encodeJson } from "../crypto/strict-json.ts";
import { ExclaveError } from "../errors.ts";
import { openSelfSigned, secondOf, selfSignedFields } from "./self-signed.ts";
import { type ObjectKind, parseObjectName } from "./site.ts";

const TYPE = "application/vnd.exclave.pouch.v1+json";
/** Objects in one list: as many as in one receipt. */
export const LIST_OBJECTS_MAX = 4096;
/** A line is a name, a size and a hash. */
export const LIST_BYTES_MAX = LIST_OBJECTS_MAX * 192;
const LISTS_MAX = 4096;

export const POUCH_FILE = "pouch.json";
export const OBJECTS_FOLDER = "objects";
export const LISTS_FOLDER = "lists";
export const RECEIPTS_FOLDER = "receipts";
export const PROGRAM_FILE = "program.tgz";

/**
 * In which order a site takes them: what it judges others by comes first, and whoever finds a succession finds all that
 * it opens.
 */
export const POUCH_KINDS = [
  "charter",
  "decision",
  "veto",
  "freeze",
  "share-set",
  "receipt",
  "check",
  "opening",
  "ledger",
  "checkpoint",
  "succession",
  "annex",
  "wrap",
  "manifest",
  "shard",
  "statement",
] as const satisfies readonly ObjectKind[];
/** Kinds whose names are not the hash of what is in them; their lists have it. */
const NOT_NAMED_BY_HASH: readonly string[] = ["ledger", "checkpoint"];

const { hex, moment, signing, shortName } = selfSignedFields;
const size = z.int().min(0);

const pouchSchema = z.strictObject({
  kind: z.literal("pouch"),
  format: z.literal(1),
  /** Its own. */
  pouch: hex(16),
  state: hex(32),
  /** Id of the site's key, and what the State calls it. */
  site: hex(32),
  siteName: shortName,
  /** The agent that signed it. */
  signing,
  /** Media that went to this site before it are numbered 1, 2, … */
  part: z.int().min(1),
  time: moment,
  /** In the order in which they are to be taken in. */
  lists: z.array(z.strictObject({ sha256: hex(32), objects: size, bytes: size })).max(LISTS_MAX),
  program: z.strictObject({ sha256: hex(32), bytes: size }).optional(),
});
export type Pouch = Readonly<z.infer<typeof pouchSchema>>;
export type StatedPouch = Omit<Pouch, "kind" | "format" | "signing" | "time">;

/** An object of a pouch. */
export type PouchEntry = {
  readonly name: string;
  readonly bytes: number;
  /** Lower-case hex; of what is not named by its hash. */
  readonly sha256?: string;
};

/** The pouch's manifest, as it is written. */
export function signPouch(agent: SigningKey, stated: StatedPouch, now: Date): Uint8Array {
  const pouch = pouchSchema.parse({
    ...stated,
    kind: "pouch",
    format: 1,
    signing: toBase64(agent.publicKey.bytes),
    time: secondOf(now),
  });
  return signEnvelope(TYPE, encodeJson(pouch), [agent]);
}

/** A pouch's manifest, and the key that it names and that signed it. Throws as `openSelfSigned` does. */
export function openPouch(bytes: Uint8Array): {
  readonly pouch: Pouch;
  readonly key: PublicSigningKey;
} {
  const { document, key } = openSelfSigned(bytes, {
    type: TYPE,
    schema: pouchSchema,
    what: "a pouch, such as `exclave pouch pack` makes",
    bytesMax: ENVELOPE_BYTES_MAX,
  });
  return { pouch: document, key };
}

/** Whether an object's name says nothing of what is in it. */
export function needsHash(name: string): boolean {
  return NOT_NAMED_BY_HASH.some((kind) => name.startsWith(`${kind}/`));
}

/** One object a line: its name, its size and, where the name is no hash, its SHA-256. */
export function encodeList(entries: readonly PouchEntry[]): {
  readonly text: Uint8Array;
  readonly sha256: string;
} {
  const lines = entries.map(({ name, bytes, sha256: digest }) =>
    [name, bytes, ...(digest === undefined ? [] : [digest])].join(" "),
  );
  const text = utf8(lines.map((line) => `${line}\n`).join(""));
  return { text, sha256: toHex(sha256(text)) };
}

const LINE = /^(\S{1,96}) (0|[1-9]\d{0,15})(?: ([0-9a-f]{64}))?$/;

/** The objects of a list, by name. Throws `altered` when it is not the one that was signed, `malformed` otherwise. */
export function parseList(
  text: Uint8Array,
  expected: Pouch["lists"][number],
): ReadonlyMap<string, PouchEntry> {
  if (text.length > LIST_BYTES_MAX || toHex(sha256(text)) !== expected.sha256) {
    throw new ExclaveError("altered", "a list of the pouch is not the one that was signed");
  }
  const malformed = (): ExclaveError =>
    new ExclaveError("malformed", "a list of the pouch has a form that is not known");
  const lines = fromUtf8(text).split("\n");
  if (lines.pop() !== "" || lines.length > LIST_OBJECTS_MAX) throw malformed();
  const entries = new Map<string, PouchEntry>();
  for (const line of lines) {
    const [, name = "", bytes = "", digest] = LINE.exec(line) ?? [];
    if (!parseObjectName(name) || needsHash(name) !== (digest !== undefined)) throw malformed();
    entries.set(name, {
      name,
      bytes: Number(bytes),
      ...(digest === undefined ? {} : { sha256: digest }),
    });
  }
  if (entries.size !== lines.length || entries.size !== expected.objects) throw malformed();
  return entries;
}

/** What a pouch's folder of objects says that it is, before it is signed: a run that was cut short goes on with it. */
const markerSchema = z.strictObject({
  kind: z.literal("pouch-objects"),
  format: z.literal(1),
  pouch: hex(16),
  state: hex(32),
  site: hex(32),
});
export type PouchMarker = Readonly<z.infer<typeof markerSchema>>;

export function encodeMarker(marker: Omit<PouchMarker, "kind" | "format">): Uint8Array {
  return encodeJson({ kind: "pouch-objects", format: 1, ...marker });
}

/** Undefined for what is none. */
export function parseMarker(json: unknown): PouchMarker | undefined {
  return markerSchema.safeParse(json).data;
}
