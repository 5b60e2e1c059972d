/**
 * Verifies a State's ledger, from the founding on: every tree against every checkpoint that was signed of it,
 * every document that it names, what follows from the decisions, and what each site has published.
 */
import { standings } from "../charter/history.ts";
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, isExclaveError } from "../errors.ts";
import { fetchFrom, newestAt } from "../ledger/at-sites.ts";
import { verifyCheckpoint } from "../ledger/checkpoint.ts";
import { encodeLedgerEntry, GOVERNING_KINDS, type LedgerEntry } from "../ledger/entry.ts";
import type { Log } from "../ledger/log.ts";
import { Frontier, leafHash } from "../ledger/merkle.ts";
import { shownHead } from "../ledger/tree-head.ts";
import { verifiedEntries } from "../ledger/verify.ts";
import { OBJECT_KINDS, type ObjectKind, type Site } from "../sites/site.ts";
import { openStatement } from "../vault/documents.ts";
import { parseId } from "../vault/identifiers.ts";
import type { Generation, GoverningKind, KnownState } from "../vault/known-state.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { fetchDocument } from "../vault/site-documents.ts";

/** Findings that a report names one by one; all are counted. */
const PROBLEMS_KEPT_MAX = 1000;

export type VerifyOptions = {
  readonly known: KnownState;
  readonly generations: readonly Generation[];
  readonly places: readonly SitePlace[];
  /** A document that the charter follows from, as whoever verifies has it. */
  readonly document: (kind: GoverningKind, id: string) => Uint8Array | Promise<Uint8Array>;
  readonly onProgress?: (entries: number) => void;
};

export type VerifyReport = {
  readonly state: string;
  /** Nothing was found that does not hold. */
  readonly good: boolean;
  readonly generations: readonly {
    readonly generation: number;
    readonly origin: string;
    readonly entries: number;
    readonly root: string;
    readonly checkpoints: number;
    readonly closed: boolean;
  }[];
  readonly entries: number;
  /** Documents that were read and are what the ledger says, by kind. */
  readonly documents: Readonly<Record<string, number>>;
  /** That were in force, one after another. */
  readonly charters: number;
  /** Where each decision stands, by status. */
  readonly decisions: Readonly<Record<string, number>>;
  /** Entries that count for nothing, and why. */
  readonly ignored: KnownState["history"]["quarantined"];
  readonly sites: readonly SiteLedger[];
  readonly problems: readonly string[];
  readonly problemCount: number;
  /** What could not be asked or found, without anything being wrong with what was. */
  readonly missing: readonly string[];
  /** What people should know, and what harms nothing. */
  readonly notes: readonly string[];
  readonly seconds: number;
};

/** What a site has published of the newest generation. */
export type SiteLedger = {
  readonly site: string;
  /** Entries of its newest checkpoint; absent when it did not answer. */
  readonly entries?: number;
  readonly behind?: number;
  readonly unavailable?: string;
};

/** Verifies all of it. What does not hold is in the report, and stops nothing that comes after. */
export async function verifyState(options: VerifyOptions): Promise<VerifyReport> {
  const startedMs = performance.now();
  const run = new Verification(options);
  const generations = options.generations.map((generation, i) => run.tree(generation, i + 1));
  for (const [i, generation] of options.generations.entries()) {
    await run.documents(generation, i + 1);
  }
  run.replay();
  const sites = await run.sites();
  const { known } = options;
  return {
    state: known.id,
    good: run.problemCount === 0,
    generations,
    entries: generations.reduce((sum, { entries }) => sum + entries, 0),
    documents: run.verified,
    charters: known.history.history.length,
    decisions: countBy([...standings(known.history).values()].map(({ status }) => status)),
    ignored: known.history.quarantined,
    sites,
    problems: run.problems,
    problemCount: run.problemCount,
    missing: run.missing,
    notes: run.notes,
    seconds: (performance.now() - startedMs) / 1000,
  };
}

class Verification {
  readonly problems: string[] = [];
  readonly missing: string[] = [];
  readonly notes: string[] = [];
  readonly verified: Record<string, number> = {};
  problemCount = 0;
  readonly #options: VerifyOptions;
  #entries = 0;

  constructor(options: VerifyOptions) {
    this.#options = options;
  }

  /** Hashes a generation anew, and holds every checkpoint that was signed of it to that. */
  tree(generation: Generation, number: number): VerifyReport["generations"][number] {
    const { log } = generation;
    const entries = countedEntries(generation);
    const frontier = new Frontier();
    let [checkpoints, seconds] = [0, 0];
    try {
      for (const { size, checkpoint } of log.checkpointsBetween(0, entries)) {
        grow(frontier, log, size);
        const signed = verifyCheckpoint(checkpoint, log.keys);
        if (signed.head.size !== size || toHex(signed.head.root) !== toHex(frontier.root())) {
          this.#problem(
            `generation ${number}: the checkpoint of ${shownHead(signed.head)} is not of these entries`,
          );
        }
        if (signed.seconds < seconds) {
          this.#problem(
            `generation ${number}: the checkpoint of ${size} entries is older than one before it`,
          );
        }
        seconds = signed.seconds;
        checkpoints++;
      }
      const unsigned = entries - frontier.size;
      if (unsigned > 0) {
        this.notes.push(
          `generation ${number}: no checkpoint covers the last ${unsigned} entries yet`,
        );
      }
      grow(frontier, log, entries);
      if (checkpoints === 0) this.#problem(`generation ${number}: no checkpoint was signed`);
    } catch (error) {
      this.#failed(`generation ${number}`, error);
    }
    return {
      generation: number,
      origin: log.origin,
      entries,
      root: toHex(frontier.root()),
      checkpoints,
      closed: generation.closedAt !== undefined,
    };
  }

  /** Reads every document that a generation names, one at a time. */
  async documents(generation: Generation, number: number): Promise<void> {
    const { log } = generation;
    for (let position = 0; position < countedEntries(generation); position++) {
      const where = `generation ${number}, entry ${position}`;
      try {
        const entry = log.entry(position);
        if (await this.#document(entry, where)) {
          this.verified[entry.kind] = (this.verified[entry.kind] ?? 0) + 1;
        }
      } catch (error) {
        this.#failed(where, error);
      }
      this.#options.onProgress?.(++this.#entries);
    }
  }

  async #document({ kind, envelope }: LedgerEntry, where: string): Promise<boolean> {
    const { known, places, document } = this.#options;
    const governing = GOVERNING_KINDS.find((one) => one === kind);
    if (governing) {
      const bytes = await document(governing, envelope);
      if (toHex(sha256(bytes)) === envelope) return true;
      this.#problem(`${where}: the ${kind} has other bytes than the ledger names`);
      return false;
    }
    if (!isObjectKind(kind)) return false;
    const bytes = await fetchDocument(places, kind, parseId("DocumentId", envelope));
    // Other kinds are held to their hash; who may have signed them is for whoever reads them to say.
    if (kind === "statement") openStatement(bytes, known);
    return true;
  }

  /** A charter or a succession that does not follow from what went before was written by nobody who may. */
  replay(): void {
    const { known, generations } = this.#options;
    for (const { generation, position, why } of known.history.quarantined) {
      const kind = generations[generation - 1]?.log.entry(position).kind;
      if (kind !== "charter" && kind !== "succession") continue;
      this.#problem(
        `generation ${generation}, entry ${position}: the ${kind} counts for nothing: ${why}`,
      );
    }
  }

  /** What the sites have published, read whole and held to what is here. */
  async sites(): Promise<readonly SiteLedger[]> {
    const { places } = this.#options;
    const sites: SiteLedger[] = [];
    for (const place of places) {
      if (!isOpen(place)) {
        this.missing.push(`site ${place.name} did not answer: ${place.problem}`);
        sites.push({ site: place.name, unavailable: place.problem });
        continue;
      }
      try {
        sites.push(await this.#site(place));
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        this.#failed(`site ${place.name}`, error);
        sites.push({ site: place.name, unavailable: error.message });
      }
    }
    return sites;
  }

  async #site({ name, site }: { readonly name: string; readonly site: Site }): Promise<SiteLedger> {
    let held = 0;
    for (const [i, generation] of this.#options.generations.entries()) {
      const { log } = generation;
      const newest = await newestAt(site, log.keys);
      held = newest?.head.size ?? 0;
      if (!newest) continue;
      const where = `site ${name}, generation ${i + 1}`;
      const relation = log.relation(newest.head);
      const end = log.head(Math.min(newest.head.size, countedEntries(generation)));
      const both = `it holds ${shownHead(newest.head)}, and here are ${shownHead(end)}`;
      try {
        if (relation === "fork") throw new ExclaveError("altered", `it has forked there: ${both}`);
        const files = fetchFrom([site], log.origin);
        for await (const _ of verifiedEntries(newest.head, files, [end]));
        if (relation === "ahead") throw new ExclaveError("altered", `it goes on there: ${both}`);
      } catch (error) {
        if (generation.closedAt === undefined || !isExclaveError(error, "altered")) {
          this.#failed(where, error);
        } else if (relation === "fork" || relation === "ahead") {
          this.notes.push(
            `${where}: ${error.message}. That generation was closed: what was added counts for nothing`,
          );
        } else {
          this.#problem(`${where}: ${error.message}`);
        }
      }
    }
    const behind = countedEntries(this.#options.generations.at(-1)) - held;
    return { site: name, entries: held, ...(behind > 0 ? { behind } : {}) };
  }

  #problem(text: string): void {
    this.problemCount++;
    if (this.problems.length < PROBLEMS_KEPT_MAX) this.problems.push(text);
  }

  /** A failure that is a finding; what could not be asked is none. */
  #failed(where: string, error: unknown): void {
    if (!isExclaveError(error) || error.code === "bug") throw error;
    if (this.#isExcused(error)) this.missing.push(`${where}: ${error.message}`);
    else this.#problem(`${where}: ${error.message}`);
  }

  /** While a site is away, what is not found may be there. */
  #isExcused({ code }: ExclaveError): boolean {
    if (code === "site-unavailable") return true;
    return code === "not-found" && this.#options.places.some((place) => !isOpen(place));
  }
}

/** Entries of a generation that count. */
function countedEntries(generation: Generation | undefined): number {
  return generation ? Math.min(generation.log.size, generation.closedAt ?? generation.log.size) : 0;
}

function grow(frontier: Frontier, log: Log, size: number): void {
  while (frontier.size < size) {
    frontier.append(leafHash(encodeLedgerEntry(log.entry(frontier.size))));
  }
}

function isObjectKind(kind: string): kind is ObjectKind {
  return OBJECT_KINDS.some((one) => one === kind);
}

function countBy(values: readonly string[]): Readonly<Record<string, number>> {
  const groups = Map.groupBy(values, (value) => value);
  return Object.fromEntries([...groups].map(([value, all]) => [value, all.length]));
}
