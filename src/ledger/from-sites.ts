/**
 * The ledger read back from its sites, by whoever rebuilds a home, recovers without one, or verifies: what
 * each site holds as the newest checkpoint, the ledger up to the one that was chosen, and the checkpoints
 * that tell when its decisions counted. No site is believed in anything.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { Site } from "../sites/site.ts";
import { fetchFrom, newestAt, type SignedHead } from "./at-sites.ts";
import { verifyCheckpoint } from "./checkpoint.ts";
import { checkpointsAt } from "./checkpoints-at-sites.ts";
import type { Witnesses } from "./cosigned-time.ts";
import { type EntryKind, GOVERNING_KINDS, type LedgerEntry } from "./entry.ts";
import type { HeadAnswer } from "./freshness.ts";
import type { Log } from "./log.ts";
import type { LedgerVerifierKeys } from "./log-key.ts";
import { shownHead, type TreeHead } from "./tree-head.ts";
import { verifiedEntries } from "./verify.ts";

/** What every site says is the newest checkpoint, or why it says nothing, in the order of the sites. */
export async function headsAt(
  sites: readonly { readonly name: string; readonly site: Site }[],
  keys: LedgerVerifierKeys,
): Promise<readonly HeadAnswer[]> {
  return Promise.all(
    sites.map(async ({ name, site }): Promise<HeadAnswer> => {
      try {
        return { site: name, signed: await newestAt(site, keys) };
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        return { site: name, unavailable: error.message };
      }
    }),
  );
}

/**
 * Makes a log equal to the published ledger as of a checkpoint, and has the checkpoints with it that first
 * cover its governing entries. A log that has it all and more stays as it is. What one site has damaged is
 * read from another. Safe to repeat, and to stop anywhere.
 *
 * Rejects with `altered` when the log, or one of `earlier`, is no beginning of what was published, naming
 * both heads; and when the sites do not have the ledger whole, with what is wrong at the first. Then nothing
 * is changed.
 *
 * @param signed what `agreeOnHead` chose
 * @param earlier heads of fewer entries that others hold
 */
export async function catchUp(
  log: Log,
  signed: SignedHead,
  sites: readonly Site[],
  earlier: readonly TreeHead[],
): Promise<{ readonly added: number }> {
  const { head, checkpoint } = signed;
  const relation = log.relation(head);
  if (relation === "fork") throw forked(head, log.head(head.size));
  let added = 0;
  if (relation === "ahead") {
    added = await adoptFrom(log, signed, sites, earlier);
  } else {
    for (const one of earlier) {
      if (one.size <= head.size && log.relation(one) === "fork") throw forked(one, head);
    }
    await log.adopt(log.size, [], [checkpoint]);
  }
  await gatherCheckpoints(log, sites, []);
  return { added };
}

/**
 * Reads one branch of a ledger that may have forked into an empty log, up to a checkpoint and whatever others
 * hold. Rejects as `catchUp` does when no site has the branch whole.
 */
export async function readBranch(
  log: Log,
  signed: SignedHead,
  sites: readonly Site[],
): Promise<void> {
  await adoptFrom(log, signed, sites, []);
}

/**
 * Has the checkpoints with a log that tell when its governing entries counted, or those of other kinds, for
 * readers who do not have them all: as the log's own time when no witnesses are given. `log.coveredAt` says for
 * any of the given what it says at home.
 *
 * Rejects as `checkpointsAt` does, and with `altered` for a checkpoint that is not one of this log.
 *
 * @param witnesses of every charter that the ledger has
 * @param among `all` to find a fork at any size, `branch` to pass over checkpoints of other trees
 * @param kinds of the entries whose time is asked; the governing ones unless told
 */
export async function gatherCheckpoints(
  log: Log,
  sites: readonly Site[],
  witnesses: readonly Witnesses[],
  among: "all" | "branch" = "all",
  kinds: readonly EntryKind[] = GOVERNING_KINDS,
): Promise<void> {
  const positions = [...log.entriesOf(kinds)].map(({ position }) => position);
  const branch = {
    size: log.size,
    has: (head: TreeHead) => ["same", "behind"].includes(log.relation(head)),
  };
  const found = await checkpointsAt(
    sites,
    log.keys,
    positions,
    witnesses,
    among === "branch" ? branch : undefined,
  );
  // A site may have grown since the head was chosen.
  const ours = found.filter(({ head }) => head.size <= log.size);
  if (ours.length === 0) return;
  const cosigners = witnesses.flatMap((one) => one.witnesses.flatMap(({ keys }) => keys));
  await log.adopt(
    log.size,
    [],
    ours.map(({ checkpoint }) => checkpoint),
    cosigners,
  );
}

async function adoptFrom(
  log: Log,
  { head, checkpoint }: SignedHead,
  sites: readonly Site[],
  earlier: readonly TreeHead[],
): Promise<number> {
  const latest = log.latest();
  const own = latest ? [verifyCheckpoint(latest.checkpoint, log.keys).head] : [];
  const start = latest?.size ?? 0;
  let failure: unknown = new ExclaveError("site-unavailable", "no site was asked for the ledger");
  for (const i of sites.keys()) {
    // The site that leads is asked first for every file: one that is whole is enough, wherever it stands.
    const inTurn = [...sites.slice(i), ...sites.slice(0, i)];
    const entries = verifiedEntries(head, fetchFrom(inTurn, head.origin), [...earlier, ...own]);
    try {
      return await log.adopt(start, entriesFrom(start, entries), [checkpoint]);
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      if (i === 0) failure = error;
    }
  }
  throw failure;
}

async function* entriesFrom(
  start: number,
  entries: AsyncIterable<readonly [number, LedgerEntry]>,
): AsyncGenerator<LedgerEntry, void, undefined> {
  for await (const [position, entry] of entries) if (position >= start) yield entry;
}

function forked(published: TreeHead, ours: TreeHead): ExclaveError {
  return new ExclaveError(
    "altered",
    `the ledger has forked: the sites hold ${shownHead(published)}, and here are ${shownHead(ours)}. Nothing was taken over, and nothing is to be signed before people have found out which is right`,
  );
}
