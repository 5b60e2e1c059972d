/**
 * The ledger at the sites: its published files and its checkpoints, as objects that are written once.
 *
 *     ledger/HHHHHHHH.PATH        a tile or entry bundle; PATH is its C2SP path with "." for "/"
 *     checkpoint/HHHHHHHH.SIZE.S  a checkpoint of SIZE entries; S tells several of one size apart
 *
 * H is the beginning of the hash of the ledger's origin, so that the generations of a ledger lie side by
 * side. Names are believed in nothing: a checkpoint counts by its signatures, a file by the checkpoint.
 */
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { DOCUMENT_BYTES_MAX, type Site } from "../sites/site.ts";
import { verifyCheckpoint } from "./checkpoint.ts";
import type { Log, Relation } from "./log.ts";
import type { LedgerVerifierKeys } from "./log-key.ts";
import { shownHead, type TreeHead } from "./tree-head.ts";

const ORIGIN_DIGITS = 8;
const HASH_DIGITS = 16;
const CHECKPOINT_NAME = /^checkpoint\/([0-9a-f]{8})\.(0|[1-9][0-9]{0,15})\.([0-9a-f]{16})$/;
/** Names of checkpoints that turn out to be none, before a site is said to hold junk. */
export const JUNK_MAX = 64;
/** Of one ledger, a checkpoint an hour for a century. */
const NAMES_MAX = 1_000_000;
/** Of whatever ledgers: a site that enforces takes notes of ones that it does not know, and not so many in a month. */
const LISTED_MAX = 2_000_000;
/** In which a site names them, and gives one: a million take seven minutes at a megabit a second. */
const ANSWER_MS_MAX = 10 * 60_000;
/** Files that are written to one site at once. */
const FILES_AT_ONCE = 8;

function originDigits(origin: string): string {
  return toHex(sha256(utf8(origin))).slice(0, ORIGIN_DIGITS);
}

/** The object that a file of the ledger is at a site. */
export function fileName(origin: string, path: string): string {
  return `ledger/${originDigits(origin)}.${path.replaceAll("/", ".")}`;
}

/** The object that a checkpoint is at a site. */
export function checkpointName({ origin, size }: TreeHead, checkpoint: Uint8Array): string {
  return `checkpoint/${originDigits(origin)}.${size}.${toHex(sha256(checkpoint)).slice(0, HASH_DIGITS)}`;
}

/** A checkpoint of the ledger that both keys of the log signed. */
export type SignedHead = { readonly head: TreeHead; readonly checkpoint: Uint8Array };

/**
 * The checkpoint of most entries that a site holds; undefined when it holds none. What is named as one
 * and is not is passed over. Rejects with `site-unavailable`, as `namedCheckpoints` does and when the site takes as
 * long to give one, and with `altered` when it holds more junk than anybody makes by accident.
 *
 * @param clockMs for tests: milliseconds since any moment
 */
export async function newestAt(
  site: Site,
  keys: LedgerVerifierKeys,
  clockMs = nowMs,
): Promise<SignedHead | undefined> {
  const names = await namedCheckpoints(site, keys, clockMs);
  const untilMs = clockMs() + ANSWER_MS_MAX;
  let junk = 0;
  for (const { name } of names.toSorted((a, b) => b.size - a.size || (a.name < b.name ? -1 : 1))) {
    try {
      return await readCheckpoint(site, name, keys);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "site-unavailable") throw error;
    }
    if (++junk >= JUNK_MAX) throw holdsJunk(site);
    if (clockMs() > untilMs) throw passedBy(site, "takes too long to give a checkpoint");
  }
  return undefined;
}

/**
 * How the heads of several sites stand to the ledger at home. Throws `altered`, naming both heads, for a
 * fork: then nothing may be signed, and nobody but people can say which of the two is right.
 */
export function relationOf(
  log: Log,
  held: readonly { readonly site: string; readonly signed: SignedHead | undefined }[],
): Exclude<Relation, "fork"> {
  let result: Exclude<Relation, "fork"> = "same";
  for (const { site, signed } of held) {
    const relation = signed ? log.relation(signed.head) : "behind";
    if (signed && relation === "fork") {
      const ours = log.head(signed.head.size);
      throw new ExclaveError(
        "altered",
        `the ledger has forked: site ${site} holds ${shownHead(signed.head)}, and home ${shownHead(ours)}. Both are signed by this State's ledger key. Nothing was signed now`,
      );
    }
    if (relation === "ahead") result = "ahead";
    else if (relation === "behind" && result === "same") result = "behind";
  }
  return result;
}

/**
 * Brings a site to a checkpoint: from each that was signed since the one that it holds to the next, first
 * the files that the site lacks and then the checkpoint. So a site that is up to date has them all, and
 * readers find the first that covers an entry. Safe to repeat, and to stop anywhere: what the site then
 * holds is whole. Rejects as `Site.put` does.
 *
 * @param signed what `log` signed, or has of it with cosignatures
 * @param held what `newestAt` gave for this site
 */
export async function publishTo(
  site: Site,
  log: Log,
  signed: SignedHead,
  held: SignedHead | undefined,
): Promise<void> {
  let at = held;
  for (const { size, checkpoint } of log.checkpointsBetween(
    held?.head.size ?? 0,
    signed.head.size - 1,
  )) {
    const next = { head: log.head(size), checkpoint };
    await publishStep(site, log, at, next);
    at = next;
  }
  await publishStep(site, log, at, signed);
}

/** From one checkpoint to the next, which may be the same with more cosignatures. */
async function publishStep(
  site: Site,
  log: Log,
  before: SignedHead | undefined,
  { head, checkpoint }: SignedHead,
): Promise<void> {
  if (before && Buffer.compare(before.checkpoint, checkpoint) === 0) return;
  let batch: Promise<void>[] = [];
  for (const { path, bytes } of log.files(before?.head.size ?? 0, head.size)) {
    batch.push(site.put(fileName(head.origin, path), [bytes]));
    if (batch.length < FILES_AT_ONCE) continue;
    await Promise.all(batch);
    batch = [];
  }
  await Promise.all(batch);
  await site.put(checkpointName(head, checkpoint), [checkpoint]);
}

/** Reads files of the ledger from the first of the sites that has them, for `verifiedEntries`. */
export function fetchFrom(
  sites: readonly Site[],
  origin: string,
): (path: string) => Promise<Uint8Array> {
  return async (path) => {
    let failure: unknown = new ExclaveError("not-found", `no site was asked for ${path}`);
    for (const site of sites) {
      try {
        return await readObject(site, fileName(origin, path));
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        failure = error;
      }
    }
    throw failure;
  };
}

export type NamedCheckpoint = { readonly name: string; readonly size: number };

/**
 * What a site names as checkpoints of the ledger: nothing more is known of them than their names. Rejects with
 * `site-unavailable`, also when it names more checkpoints than there can be, of any ledger, or takes too long for it.
 *
 * @param clockMs for tests: milliseconds since any moment
 */
export async function namedCheckpoints(
  site: Site,
  keys: LedgerVerifierKeys,
  clockMs = nowMs,
): Promise<readonly NamedCheckpoint[]> {
  const digits = originDigits(keys[0].name);
  const untilMs = clockMs() + ANSWER_MS_MAX;
  const names: NamedCheckpoint[] = [];
  let listed = 0;
  for await (const name of site.list("checkpoint")) {
    if (clockMs() > untilMs) throw passedBy(site, "takes too long to name its checkpoints");
    const [, origin, size] = CHECKPOINT_NAME.exec(name) ?? [];
    if (origin === digits) names.push({ name, size: Number(size) });
    if (++listed > LISTED_MAX || names.length > NAMES_MAX) {
      throw passedBy(site, "names more checkpoints than there can be");
    }
  }
  return names;
}

/** The checkpoint behind a name. Rejects when it is none, or not the one that the name says. */
export async function readCheckpoint(
  site: Site,
  name: string,
  keys: LedgerVerifierKeys,
): Promise<SignedHead> {
  const checkpoint = await readObject(site, name);
  const { head } = verifyCheckpoint(checkpoint, keys);
  if (checkpointName(head, checkpoint) !== name) {
    throw new ExclaveError("altered", `${name} is another checkpoint than its name says`);
  }
  return { head, checkpoint };
}

function passedBy(site: Site, why: string): ExclaveError {
  return new ExclaveError(
    "site-unavailable",
    `site ${site.identity.name} ${why}: it is passed by, as one that is away, and the other sites are asked as ever. Ask its operator why`,
  );
}

function nowMs(): number {
  return performance.now();
}

function holdsJunk(site: Site): ExclaveError {
  return new ExclaveError("altered", `site ${site.identity.name} holds checkpoints that are none`);
}

/** A whole object: 256 entries of ours, like every other document, are far below the bound. */
async function readObject(site: Site, name: string): Promise<Uint8Array> {
  const info = await site.stat(name);
  if (!info) throw new ExclaveError("not-found", `no object ${name}`);
  if (info.bytes > DOCUMENT_BYTES_MAX) throw new ExclaveError("malformed", `${name} is too large`);
  const into = new Uint8Array(info.bytes);
  const got = await site.read(name, 0, into);
  if (got !== into.length) throw new ExclaveError("malformed", `${name} is cut short`);
  return into;
}
