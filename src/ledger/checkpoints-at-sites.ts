/**
 * Checkpoints of several sites together: the ones that tell when an entry counted. What one site withholds
 * another gives, and nothing that a site adds takes a cosignature away.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { Site } from "../sites/site.ts";
import { JUNK_MAX, namedCheckpoints, readCheckpoint, type SignedHead } from "./at-sites.ts";
import { bareCheckpoint, joinCosignatures } from "./checkpoint.ts";
import { cosignedSeconds, type Witnesses } from "./cosigned-time.ts";
import type { LedgerVerifierKeys } from "./log-key.ts";
import { isSameTreeHead, shownHead, type TreeHead } from "./tree-head.ts";

/** Notes of one size that are read from one site; home publishes one more when a witness answers late. */
const NOTES_OF_SIZE_MAX = 16;

/** Where the notes of one size are said to be: sites by the name of the object. */
type Places = Map<string, Site[]>;

/** The tree whose checkpoints are looked for, where the sites hold those of another too. */
export type Branch = {
  /** Entries that it has; larger checkpoints are none of it. */
  readonly size: number;
  readonly has: (head: TreeHead) => boolean;
};

/**
 * For each position the checkpoints that tell when its entry counted, and the newest, smallest first: from the
 * smallest that covers it up to the first that a quorum of all of `witnesses` cosigned; without witnesses, the
 * smallest alone. Each has the log's signatures and, of every witness, the earliest cosignature that any site
 * has. What is named as a checkpoint and is none is passed over, and so is a site that fails too often.
 *
 * Rejects with `altered`, naming both, when two are of one size and differ, which proves a fork, and with
 * `site-unavailable` when no site answers.
 *
 * @param branch of a fork that is known: checkpoints of no other tree are looked at
 */
export async function checkpointsAt(
  sites: readonly Site[],
  keys: LedgerVerifierKeys,
  needed: readonly number[],
  witnesses: readonly Witnesses[] = [],
  branch: Branch = { size: Number.POSITIVE_INFINITY, has: () => true },
): Promise<readonly SignedHead[]> {
  const places = await placesAt(sites, keys);
  const sizes = [...places.keys()].filter((size) => size <= branch.size).toSorted((a, b) => a - b);
  const reader = new CheckpointReader(places, keys, witnesses, branch);
  let newest = sizes.length - 1;
  while (newest >= 0 && !(await reader.open(sizes[newest] ?? 0))) newest--;
  // In one pass: what lies between the last position and where its search ended is of no use to the next.
  let at = 0;
  let end = 0;
  for (const position of needed.toSorted((a, b) => a - b)) {
    if (position < end) continue;
    while (at <= newest && end <= position) {
      const size = sizes[at++] ?? 0;
      if (size <= position) continue;
      const signed = await reader.open(size);
      if (signed && reader.isEnough(signed)) end = size;
    }
  }
  return reader.opened();
}

/** The checkpoint with this root, from whichever site has one that both keys of the log signed; else undefined. */
export async function findCheckpoint(
  sites: readonly Site[],
  keys: LedgerVerifierKeys,
  wanted: TreeHead,
): Promise<SignedHead | undefined> {
  const reader = new CheckpointReader(await placesAt(sites, keys), keys, [], {
    size: wanted.size,
    has: (head) => isSameTreeHead(head, wanted),
  });
  return reader.open(wanted.size);
}

/** Everything that the sites name as checkpoints, by size. */
async function placesAt(
  sites: readonly Site[],
  keys: LedgerVerifierKeys,
): Promise<ReadonlyMap<number, Places>> {
  const bySize = new Map<number, Places>();
  const silent: string[] = [];
  for (const site of sites) {
    try {
      const counts = new Map<number, number>();
      for (const { name, size } of await namedCheckpoints(site, keys)) {
        const count = (counts.get(size) ?? 0) + 1;
        counts.set(size, count);
        if (count > NOTES_OF_SIZE_MAX) continue;
        const places: Places = bySize.get(size) ?? new Map();
        bySize.set(size, places.set(name, [...(places.get(name) ?? []), site]));
      }
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      silent.push(`${site.identity.name}: ${error.message}`);
    }
  }
  if (silent.length < sites.length) return bySize;
  throw new ExclaveError(
    "site-unavailable",
    `no site gives checkpoints of the ledger (${silent.join("; ") || "none was asked"}). Bring back a site and try again`,
  );
}

class CheckpointReader {
  readonly #places: ReadonlyMap<number, Places>;
  readonly #keys: LedgerVerifierKeys;
  readonly #witnesses: readonly Witnesses[];
  readonly #branch: Branch;
  readonly #opened = new Map<number, SignedHead | undefined>();
  readonly #failures = new Map<Site, number>();

  constructor(
    places: ReadonlyMap<number, Places>,
    keys: LedgerVerifierKeys,
    witnesses: readonly Witnesses[],
    branch: Branch,
  ) {
    this.#branch = branch;
    this.#places = places;
    this.#keys = keys;
    this.#witnesses = witnesses;
  }

  /** Whether every quorum cosigned it. */
  isEnough({ checkpoint }: SignedHead): boolean {
    return this.#witnesses.every(
      (one) => cosignedSeconds(checkpoint, this.#keys, one) !== undefined,
    );
  }

  /** What was opened and is a checkpoint, smallest first. */
  opened(): readonly SignedHead[] {
    return [...this.#opened.values()]
      .filter((one) => one !== undefined)
      .toSorted((a, b) => a.head.size - b.head.size);
  }

  /** The checkpoint of that size; undefined when no site has one. */
  async open(size: number): Promise<SignedHead | undefined> {
    if (!this.#opened.has(size)) this.#opened.set(size, await this.#join(size));
    return this.#opened.get(size);
  }

  async #join(size: number): Promise<SignedHead | undefined> {
    let first: { readonly site: Site; readonly signed: SignedHead } | undefined;
    const notes: Uint8Array[] = [];
    for (const [name, sites] of this.#places.get(size) ?? []) {
      const found = await this.#read(name, sites);
      if (!found || !this.#branch.has(found.signed.head)) continue;
      first ??= found;
      if (!isSameTreeHead(first.signed.head, found.signed.head)) {
        const [one, other] = [first, found].map(
          ({ site, signed }) => `${site.identity.name} holds ${shownHead(signed.head)}`,
        );
        throw new ExclaveError(
          "altered",
          `the ledger has forked: ${one}, and ${other}. Nothing is believed until people have found out why`,
        );
      }
      notes.push(found.signed.checkpoint);
    }
    if (!first) return undefined;
    const { head, checkpoint } = first.signed;
    const cosigners = this.#witnesses.flatMap((one) => one.witnesses.flatMap(({ keys }) => keys));
    const bare = bareCheckpoint(checkpoint, this.#keys);
    return { head, checkpoint: joinCosignatures(bare, notes, cosigners) };
  }

  /** The checkpoint of that name, from the first site where it is one. */
  async #read(
    name: string,
    sites: readonly Site[],
  ): Promise<{ readonly site: Site; readonly signed: SignedHead } | undefined> {
    for (const site of sites) {
      const failures = this.#failures.get(site) ?? 0;
      if (failures >= JUNK_MAX) continue;
      try {
        return { site, signed: await readCheckpoint(site, name, this.#keys) };
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        this.#failures.set(site, failures + 1);
      }
    }
    return undefined;
  }
}
