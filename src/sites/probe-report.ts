/** What a probe of an S3 engine says: which promises it tried, and which were held. See `probe.ts`. */
import { ExclaveError } from "../errors.ts";

/** What is tried, in this order, and whether a site needs it. */
export const PROMISES = {
  "signature-checked": { needed: true, says: "a request with a wrong signature is refused" },
  "old-request-refused": { needed: false, says: "a request signed 20 minutes off is refused" },
  clock: { needed: true, says: "its clock, which ends locks, agrees with ours within a minute" },
  "versions-kept": { needed: true, says: "the bucket says that it keeps versions" },
  "locks-offered": { needed: true, says: "the bucket says that versions can be locked" },
  "canary-stored": { needed: true, says: "an object is stored with a lock, and has a version" },
  "read-back": { needed: true, says: "what was stored is read back, byte for byte" },
  "range-read": { needed: true, says: "a part of an object is read, and nothing else" },
  "lock-shown": { needed: true, says: "the lock is shown as it was asked for" },
  "listed-at-once": { needed: true, says: "a listing right after a write has it" },
  "overwriting-keeps": { needed: true, says: "overwriting leaves the version before it" },
  "oldest-listed-last": { needed: true, says: "of two versions the older is listed behind" },
  "deleting-keeps": { needed: true, says: "deleting the object leaves its versions" },
  "locked-not-deleted": { needed: true, says: "a locked version cannot be deleted" },
  "bypass-refused": { needed: true, says: "nor with the header that bypasses weaker locks" },
  "bulk-delete-refused": { needed: true, says: "nor among many in one request" },
  "lock-not-shortened": { needed: true, says: "a lock cannot be shortened" },
  "lock-not-weakened": { needed: true, says: "a lock cannot be changed to a weaker kind" },
  "lock-extended": { needed: true, says: "a lock can be extended" },
  "wrong-md5-refused": { needed: true, says: "a body that its Content-MD5 denies is refused" },
  "wrong-hash-refused": { needed: false, says: "a body that the signature denies is refused" },
  "wrong-checksum-refused": {
    needed: false,
    says: "a body that its x-amz-checksum-sha256 denies is refused",
  },
  "conditional-write": {
    needed: false,
    says: "If-None-Match: * keeps a write from going on top of another",
  },
  "multipart-locked": { needed: false, says: "an object stored in parts is locked as well" },
} as const satisfies Readonly<Record<string, { readonly needed: boolean; readonly says: string }>>;

export type PromiseName = keyof typeof PROMISES;

export type ProbeResult = {
  readonly name: PromiseName;
  readonly held: boolean;
  /** False: a site does without, and it is good to know. */
  readonly needed: boolean;
  /** What was seen, in a sentence. */
  readonly detail: string;
};

/** Plain JSON, its fields always in this order. */
export type ProbeReport = {
  readonly kind: "s3-probe";
  readonly format: 1;
  readonly endpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly prefix: string;
  /** What the engine calls itself, or "unknown". */
  readonly engine: string;
  /** RFC 3339, UTC. */
  readonly probedAt: string;
  /** One for each of `PROMISES`, in their order. */
  readonly results: readonly ProbeResult[];
  /** Every promise that a site needs was held. */
  readonly trustworthy: boolean;
};

/** The promises that a site needs and the engine does not hold, as sentences. */
export function brokenPromises(report: ProbeReport): readonly string[] {
  return report.results
    .filter(({ held, needed }) => needed && !held)
    .map(({ name, detail }) => `${name} (${PROMISES[name].says}): ${detail}`);
}

/** Throws `check-failed`, naming every promise that was broken, unless all that are needed were held. */
export function requireTrustworthy(report: ProbeReport): void {
  if (report.trustworthy) return;
  throw new ExclaveError(
    "check-failed",
    `the engine at ${report.endpoint} does not hold what a site needs. Nothing of yours was stored there; use another, or set this one right. ${brokenPromises(report).join(". ")}`,
  );
}
