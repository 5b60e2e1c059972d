/**
 * One generation of the ledger as its sites tell it. Mostly all tell the same; but an old home that still has
 * the ledger's key can write on, or write another history, in a generation that was closed long ago. So each
 * history that a site holds is read by itself, and the succession says which one counts, and how far.
 */
import { rename, rm } from "node:fs/promises";
import type { Charter } from "../charter/charter.ts";
import { type OpenedPaper, openPaper } from "../charter/decision.ts";
import type { Succession } from "../charter/succession.ts";
import { recoveryKey } from "../charter/thresholds.ts";
import { fromHex, toHex } from "../crypto/bytes.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { SignedHead } from "../ledger/at-sites.ts";
import { findCheckpoint } from "../ledger/checkpoints-at-sites.ts";
import { agreeOnHead, type HeadAnswer } from "../ledger/freshness.ts";
import { gatherCheckpoints, headsAt, readBranch } from "../ledger/from-sites.ts";
import { Log } from "../ledger/log.ts";
import type { LedgerVerifierKeys } from "../ledger/log-key.ts";
import { isSameTreeHead, shownHead, type TreeHead } from "../ledger/tree-head.ts";
import type { Site } from "../sites/site.ts";
import { type Generation, type KnownState, ledgerKeysOf } from "../vault/known-state.ts";
import { takeUnknown } from "../vault/site-documents.ts";

/** That one site is asked for, each time: a State has one for each generation of its ledger, of a thousand at most. */
const SUCCESSIONS_PER_SITE_MAX = 4096;

export type BranchSource = {
  readonly state: string;
  /** Of this generation. */
  readonly keys: LedgerVerifierKeys;
  /** Where its ledger is to be. */
  readonly file: string;
  /** In force when it began. */
  readonly charter: Charter;
  readonly places: readonly { readonly name: string; readonly site: Site }[];
  /** Replays the State to the end of this generation, with every document that it names fetched. */
  readonly know: (generation: Generation) => Promise<KnownState>;
  readonly onNotice: (notice: string) => void;
};

export type ReadGeneration = {
  /** Open; its file is `file`. */
  readonly generation: Generation;
  /** As of its end. */
  readonly known: KnownState;
  /** What closed it; undefined for the newest. */
  readonly next: Succession | undefined;
  readonly answers: readonly HeadAnswer[];
};

/** A history of the generation that was read whole. */
type Branch = { readonly log: Log; readonly file: string; readonly known: KnownState };
/** One that some site says there is, and that could not be read. */
type Unread = { readonly head: TreeHead; readonly error: ExclaveError };

/**
 * Reads a generation: to where a succession closed it, or all of it when it is the newest.
 *
 * @throws ExclaveError `altered` for a fork that no succession decides, `site-unavailable` when no site has the
 *   ledger, and what kept a ledger that counts from being read
 */
export async function readGeneration(source: BranchSource): Promise<ReadGeneration> {
  const reader = new BranchReader(source);
  try {
    const answers = await headsAt(source.places, source.keys);
    for (const signed of headsOf(answers)) await reader.add(signed);
    const closing = await reader.closing();
    if (closing) {
      reader.nameOthers(closing.branch);
      const closedAt = closing.paper.closes.size;
      const log = await reader.keep(closing.branch);
      return { generation: { log, closedAt }, known: closing.known, next: closing.paper, answers };
    }
    const only = await reader.only(answers);
    return {
      generation: { log: await reader.keep(only) },
      known: only.known,
      next: undefined,
      answers,
    };
  } finally {
    await reader.close();
  }
}

/** A succession that may have closed a generation, and how many sites have the ledger that it began. */
type Candidate = {
  readonly object: string;
  readonly opened: OpenedPaper<"succession">;
  readonly sites: number;
};

/** Every head that a site gave, the largest first. */
function headsOf(answers: readonly HeadAnswer[]): readonly SignedHead[] {
  return answers
    .flatMap((one) => ("signed" in one && one.signed ? [one.signed] : []))
    .toSorted((a, b) => b.head.size - a.head.size);
}

class BranchReader {
  readonly #source: BranchSource;
  readonly #sites: readonly Site[];
  readonly #branches: Branch[] = [];
  readonly #unread: Unread[] = [];
  #files = 0;

  constructor(source: BranchSource) {
    this.#source = source;
    this.#sites = source.places.map(({ site }) => site);
  }

  /** Reads the history of a head, unless one that was read has it; or, where asked, ends with it. */
  async add(signed: SignedHead, exactly = false): Promise<Branch | undefined> {
    const { head } = signed;
    const known = this.#branches.find(
      ({ log }) => has(log, head) && (!exactly || log.size === head.size),
    );
    if (known) return known;
    if (this.#unread.some((one) => isSameTreeHead(one.head, head))) return undefined;
    try {
      const branch = await this.#read(signed);
      this.#branches.push(branch);
      return branch;
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      this.#unread.push({ head, error });
      return undefined;
    }
  }

  async #read(signed: SignedHead): Promise<Branch> {
    const { file: ledger, keys, know } = this.#source;
    const file = `${ledger}.${this.#files++}`;
    const log = Log.open(file, keys);
    try {
      await readBranch(log, signed, this.#sites);
      return { log, file, known: await know({ log }) };
    } catch (error) {
      log.close();
      await removeLedger(file);
      throw error;
    }
  }

  /**
   * The succession that closed this generation, when the next has begun. Of several the one whose ledger most
   * sites have, then the last: whoever kept a recovery key that was replaced in a later generation could close an
   * earlier one again, and date that as they like, but not bring it to most of the sites.
   */
  async closing(): Promise<
    { readonly branch: Branch; readonly known: KnownState; readonly paper: Succession } | undefined
  > {
    const { onNotice } = this.#source;
    const valid = [];
    for (const { object, opened, sites } of await this.#successions()) {
      try {
        const branch = await this.#closedBy(opened.paper);
        const closedAt = opened.paper.closes.size;
        const known = await this.#source.know({ log: branch.log, closedAt });
        this.#requireInForce(opened, known);
        valid.push({ branch, known, paper: opened.paper, sites });
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        onNotice(`succession/${object} was left out: ${error.message}`);
      }
    }
    if (valid.length > 1) {
      onNotice(
        `the recovery key was used ${valid.length} times on one ledger: of the homes that came of it, the one counts whose ledger most of these sites have (${Math.max(...valid.map(({ sites }) => sites))} of ${this.#sites.length})`,
      );
    }
    const order = ({ paper }: { readonly paper: Succession }): string =>
      `${paper.time} ${paper.random}`;
    return valid.toSorted((a, b) => b.sites - a.sites || (order(a) < order(b) ? 1 : -1))[0];
  }

  /** What may close this generation: signed by a recovery key that the State once had, and begun at some site. */
  async #successions(): Promise<readonly Candidate[]> {
    const { places, state, charter, keys, onNotice } = this.#source;
    const charters = this.#branches.flatMap(({ known }) =>
      known.history.history.map((stored) => stored.charter),
    );
    const trusted = new Map([charter, ...charters].flatMap((one) => [...recoveryKey(one)]));
    const trying = async (object: string, work: () => void | Promise<void>): Promise<void> => {
      try {
        await work();
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        onNotice(`succession/${object} was left out: ${error.message}`);
      }
    };
    const signed = new Map<string, OpenedPaper<"succession">>();
    await takeUnknown(places, "succession", {
      isKnown: () => false,
      perSiteMax: SUCCESSIONS_PER_SITE_MAX,
      onNotice,
      take: (object, bytes) =>
        trying(object, () => {
          signed.set(object, openPaper("succession", bytes, state, trusted));
        }),
    });
    const papers: Candidate[] = [];
    for (const [object, opened] of signed) {
      const { ledger, closes } = opened.paper;
      if (ledger.generation !== charter.ledger.generation + 1) continue;
      if (closes.origin !== keys[0].name) continue;
      await trying(object, async () => {
        const sites = headsOf(await headsAt(places, ledgerKeysOf(ledger))).length;
        if (sites > 0) papers.push({ object, opened, sites });
      });
    }
    return papers;
  }

  /** The history that has the checkpoint at which a succession closes. Throws `not-found`. */
  async #closedBy({ closes: { origin, size, root } }: Succession): Promise<Branch> {
    const wanted = { origin, size, root: fromHex(root, 32) };
    // Of one that was written on, no more than what counts is to be taken home and brought to other sites.
    const signed = await findCheckpoint(this.#sites, this.#source.keys, wanted);
    const exact = signed && (await this.add(signed, true));
    const branch = exact ?? this.#branches.find(({ log }) => has(log, wanted));
    if (branch) return branch;
    throw new ExclaveError("not-found", "it closes a ledger that these sites do not have");
  }

  /**
   * Throws `untrusted` unless the recovery key that was in force where the ledger ends signed it, and no history
   * of this generation has replaced that key: with one that was stolen and replaced, nobody goes back to before.
   */
  #requireInForce({ paper, keyIds }: OpenedPaper<"succession">, known: KnownState): void {
    const { id } = known.recoverySigning;
    if (!keyIds.includes(id) || paper.charter !== known.charterId) {
      throw new ExclaveError("untrusted", "it does not follow from the charter where it closes");
    }
    const replaced = this.#branches.some(
      (branch) =>
        branch.known.recoverySigning.id !== id &&
        branch.known.history.history.some(({ charter }) => recoveryKey(charter).has(id)),
    );
    if (!replaced) return;
    throw new ExclaveError("untrusted", "the recovery key that signed it was replaced");
  }

  /** Says what sites hold of a closed generation that counts for nothing. */
  nameOthers(chosen: Branch): void {
    const { charter, onNotice } = this.#source;
    const others = [
      ...this.#branches.filter((one) => one !== chosen).map(({ log }) => log.head()),
      ...this.#unread.map(({ head }) => head),
    ];
    for (const head of others) {
      onNotice(
        `the ledger of generation ${charter.ledger.generation} was written to by somebody else than the home that closed it: what a site holds of it beyond that (${shownHead(head)}) counts for nothing`,
      );
    }
  }

  /** The history of the newest generation. Throws `altered` when there are two. */
  async only(answers: readonly HeadAnswer[]): Promise<Branch> {
    // Whether so many answered that nothing newer is hidden is asked when it is known who there is to ask.
    const { confirmedBy } = agreeOnHead(answers, { demands: [], acceptStale: true });
    const [unread] = this.#unread;
    const [first, second] = this.#branches.filter(
      ({ log }) =>
        !this.#branches.some((one) => one.log.size > log.size && has(one.log, log.head())),
    );
    const larger = unread && unread.head.size > (first?.log.size ?? 0);
    if (!first || larger) throw unread?.error ?? new ExclaveError("bug", "a head was read");
    const other = second?.log.head() ?? unread?.head;
    if (other) {
      throw new ExclaveError(
        "altered",
        `the ledger has forked: ${confirmedBy.join(", ")} holds ${shownHead(first.log.head())}, and another site ${shownHead(other)}. Nothing is believed until people have found out why`,
      );
    }
    // Nothing decides between histories here, so that one of any size is a reason to stop.
    await gatherCheckpoints(first.log, this.#sites, []);
    return first;
  }

  /** Gives a history its place among the ledgers of home. */
  async keep(branch: Branch): Promise<Log> {
    const { file, keys } = this.#source;
    branch.log.close();
    this.#branches.splice(this.#branches.indexOf(branch), 1);
    await rename(branch.file, file);
    return Log.open(file, keys);
  }

  /** Forgets every history that was not kept. */
  async close(): Promise<void> {
    for (const { log, file } of this.#branches) {
      log.close();
      await removeLedger(file);
    }
  }
}

/** Whether a head is of this ledger, as far as it goes. */
function has(log: Log, head: TreeHead): boolean {
  return head.size <= log.size && toHex(log.head(head.size).root) === toHex(head.root);
}

async function removeLedger(file: string): Promise<void> {
  for (const suffix of ["", "-wal", "-shm"]) await rm(file + suffix, { force: true });
}
