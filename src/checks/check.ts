/** `check`: proof that the sites hold what they promised. Needs no decryption key. */

import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { isExclaveError } from "../errors.ts";
import { newestAt } from "../ledger/at-sites.ts";
import { GOVERNING_KINDS } from "../ledger/entry.ts";
import type { Log } from "../ledger/log.ts";
import { startReadPool } from "../registers/epoch-reader.ts";
import { listHeld } from "../registers/known-packs.ts";
import { REFUSED_BY_CHARTER } from "../registers/read-messages.ts";
import { defaultWorkers } from "../registers/seal-session.ts";
import type { Site } from "../sites/site.ts";
import { isAudited } from "../vault/audited-shards.ts";
import type { Catalog, PackRow } from "../vault/catalog.ts";
import { type EpochWrap, openStatement, openWrap } from "../vault/documents.ts";
import type { Home } from "../vault/home.ts";
import { parseId, type RegisterId } from "../vault/identifiers.ts";
import type { KnownState } from "../vault/known-state.ts";
import { isOpen, openSites, type SitePlace } from "../vault/open-sites.ts";
import { shardName } from "../vault/shard.ts";
import { readDocument } from "../vault/site-documents.ts";

/** Packs of which a check without `full` reads every shard. */
const SAMPLE_PACKS = 16;
const PACKS_IN_FLIGHT_MAX = 8;
/** Findings that a report names one by one; all are counted. */
const FINDINGS_KEPT_MAX = 1000;

export type SiteCheck = {
  readonly site: string;
  /** Why it could not be checked; its counts say nothing then. */
  unavailable?: string | undefined;
  expected: number;
  missing: number;
  /** Read whole and held against their names. */
  verified: number;
  damaged: number;
  /** Listed, and by the charter not read by this home: of a closed epoch it is shown k - 1 shards of each pack. */
  withheld: number;
  bytesRead: number;
};

export type Finding = { readonly site: string; readonly object: string; readonly why: string };

export type CheckReport = {
  readonly register: string;
  readonly time: string;
  readonly full: boolean;
  readonly recoveryPoints: number;
  readonly packs: number;
  readonly sites: readonly SiteCheck[];
  readonly findingCount: number;
  readonly findings: readonly Finding[];
  /**
   * How many more sites may be lost before something is: over all packs, the least number of good
   * shards, minus k. Negative when something is lost. Shards that were not read count as good.
   */
  readonly survives: number;
  readonly good: boolean;
  readonly seconds: number;
};

export type CheckProgress = {
  readonly packs: number;
  readonly packsTotal: number;
  readonly bytes: number;
};

export type CheckOptions = {
  readonly home: Home;
  readonly catalog: Catalog;
  readonly register: string;
  /** Read every byte, not a sample. */
  readonly full: boolean;
  readonly now: Date;
  readonly onProgress?: (progress: CheckProgress) => void;
};

export async function check(options: CheckOptions): Promise<CheckReport> {
  const startedMs = performance.now();
  const { home, catalog, full, now } = options;
  const register = home.register(options.register);
  const id = parseId("RegisterId", register.id);
  const run = new CheckRun(options, await openSites(home, register), id, register.k);
  const snapshots = catalog.snapshots(id);
  await run.documents(snapshots.map(({ envelope }) => envelope));
  const keyIds = snapshots.map(
    ({ envelope }) => openStatement(envelope, home.known).document.epochKeyId,
  );
  await run.ledger();
  await run.keys(new Set(keyIds));
  await run.packs();
  const report: CheckReport = {
    register: register.name,
    time: now.toISOString(),
    full,
    recoveryPoints: snapshots.length,
    packs: run.packCount,
    sites: run.sites,
    findingCount: run.findingCount,
    findings: run.findings,
    survives: run.survives,
    good: run.findingCount === 0 && run.sites.every((site) => site.unavailable === undefined),
    seconds: (performance.now() - startedMs) / 1000,
  };
  const { good, survives } = report;
  catalog.addCheck(id, report.time, JSON.stringify({ full, good, survives }));
  return report;
}

/** Wraps of epoch keys that a check reads at one site: more than a State makes in a century. */
const WRAPS_MAX = 20_000;

/**
 * The wraps of a site, and whether these are all that it names; undefined when it cannot list them, which the listing
 * of shards tells.
 */
async function wrapsOf(place: SitePlace & { readonly site: Site }) {
  const wraps: Uint8Array[] = [];
  let named = 0;
  try {
    for await (const name of place.site.list("wrap")) {
      if (++named > WRAPS_MAX) return { wraps, areAll: false };
      const bytes = await readDocument(place.site, name);
      if (bytes && toHex(sha256(bytes)) === name.slice("wrap/".length)) wraps.push(bytes);
    }
    return { wraps, areAll: true };
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    return undefined;
  }
}

/** What checks said while a site was away, it may lack: or each would give the next one something to find. */
function lacksMoreThanChecks(log: Log, has: number, covered: number): boolean {
  for (let position = has; position < covered; position++) {
    if (log.entry(position).kind !== "check") return true;
  }
  return false;
}

function openedWrap(bytes: Uint8Array, known: KnownState): EpochWrap | undefined {
  try {
    return openWrap(bytes, known).document;
  } catch (error) {
    if (!isExclaveError(error)) throw error;
    return undefined;
  }
}

class CheckRun {
  readonly sites: readonly SiteCheck[];
  readonly findings: Finding[] = [];
  findingCount = 0;
  packCount = 0;
  survives: number;
  readonly #options: CheckOptions;
  readonly #places: readonly SitePlace[];
  readonly #register: RegisterId;
  readonly #k: number;

  constructor(
    options: CheckOptions,
    places: readonly SitePlace[],
    register: RegisterId,
    k: number,
  ) {
    this.#options = options;
    this.#places = places;
    this.#register = register;
    this.#k = k;
    this.survives = places.length - k;
    this.sites = places.map((place) => ({
      site: place.name,
      ...(isOpen(place) ? {} : { unavailable: place.problem }),
      expected: 0,
      missing: 0,
      verified: 0,
      damaged: 0,
      withheld: 0,
      bytesRead: 0,
    }));
  }

  /** Every statement's signature, and that every open site has it and its manifests as their names say. */
  async documents(envelopes: readonly Uint8Array[]): Promise<void> {
    for (const envelope of envelopes) {
      const { id, document } = openStatement(envelope, this.#options.home.known);
      const names = [
        `statement/${id}`,
        ...document.manifests.map((manifest) => `manifest/${manifest}`),
      ];
      for (const name of names) await this.#document(name);
    }
  }

  /** That every open site has what the charter follows from, and the ledger's newest checkpoint. */
  async ledger(): Promise<void> {
    const { home } = this.#options;
    const documents = await home.withGenerations((generations) =>
      generations.flatMap(({ log, closedAt }) =>
        [...log.entriesOf(GOVERNING_KINDS)]
          .filter(({ position }) => position < (closedAt ?? Number.POSITIVE_INFINITY))
          .map(({ kind, envelope }) => `${kind}/${envelope}`),
      ),
    );
    for (const name of documents) await this.#document(name);
    await home.withLedger(async (log) => {
      for (const place of this.#places) {
        if (!isOpen(place)) continue;
        const held = await newestAt(place.site, log.keys);
        const has = held?.head.size ?? 0;
        const covered = log.latest()?.size ?? 0;
        if (held && log.relation(held.head) === "fork") {
          this.#find(place.name, "ledger", "it is another one than home's, under the same keys");
        } else if (lacksMoreThanChecks(log, has, covered)) {
          this.#find(place.name, "ledger", `it ends at entry ${has} of ${covered}`);
        }
      }
    });
  }

  /** That every open site has a wrap of each epoch's key for the recovery key. */
  async keys(epochKeyIds: ReadonlySet<string>): Promise<void> {
    for (const place of this.#places) {
      if (!isOpen(place)) continue;
      const found = await wrapsOf(place);
      if (!found) continue;
      if (!found.areAll) this.#find(place.name, "wraps", `it names more than ${WRAPS_MAX}`);
      const wrapped = new Set<string>();
      for (const bytes of found.wraps) {
        const wrap = openedWrap(bytes, this.#options.home.known);
        if (wrap?.recipient === "recovery") wrapped.add(wrap.epochKeyId);
      }
      for (const id of epochKeyIds) {
        if (!wrapped.has(id)) {
          this.#find(place.name, `wrap of epoch key ${id.slice(0, 12)}`, "it is missing");
        }
      }
    }
  }

  async #document(name: string): Promise<void> {
    const held = await Promise.all(
      this.#places.map(async (place) =>
        isOpen(place) ? readDocument(place.site, name) : undefined,
      ),
    );
    for (const [i, place] of this.#places.entries()) {
      if (!isOpen(place)) continue;
      const bytes = held[i];
      if (!bytes) this.#find(place.name, name, "it is missing");
      else if (toHex(sha256(bytes)) !== name.split("/")[1])
        this.#find(place.name, name, "it is altered");
    }
  }

  async packs(): Promise<void> {
    const { catalog, full, onProgress } = this.#options;
    const unlisted = await listHeld(catalog, this.#places);
    for (const site of this.sites) site.unavailable ??= unlisted.get(site.site);
    const packsTotal = catalog.packCount(this.#register);
    const sample = full ? undefined : new Set(catalog.samplePacks(this.#register, SAMPLE_PACKS));
    const n = this.#places.length;
    const pool = startReadPool({
      workers: defaultWorkers(),
      places: this.#places,
      strict: true,
      shapes: [{ k: this.#k, n }],
      numericOwner: false,
      onProblem: () => undefined,
    });
    const inFlight: Promise<void>[] = [];
    try {
      for (const pack of catalog.packsOf(this.#register)) {
        const present = this.#present(pack);
        if (sample && !sample.has(pack.pack)) {
          this.#score(pack, present.length);
          continue;
        }
        const shards = present.map((index) => ({ id: pack.id, index }));
        const { done } = await pool.submit({ type: "verify", shards });
        const verified = done.then((result) => {
          if (result.type === "verified") this.#verified(pack, present, result.shards);
          onProgress?.({ packs: this.packCount, packsTotal, bytes: this.#bytesRead() });
        });
        verified.catch(() => undefined);
        inFlight.push(verified);
        if (inFlight.length > PACKS_IN_FLIGHT_MAX) await inFlight.shift();
      }
      await Promise.all(inFlight);
    } finally {
      await pool.close();
    }
  }

  /** Indices of the shards that their sites list. */
  #present(pack: PackRow): readonly number[] {
    const { catalog } = this.#options;
    return this.#places.flatMap((place, index) => {
      const site = this.sites[index];
      if (!site || index >= pack.n) return [];
      site.expected++;
      if (!isOpen(place)) return [];
      const name = shardName(pack.id, index);
      if (catalog.isHeld(name)) return [index];
      site.missing++;
      this.#find(place.name, name, "it is missing");
      return [];
    });
  }

  #verified(
    pack: PackRow,
    indices: readonly number[],
    shards: readonly { readonly bytes: number; readonly problem?: string }[],
  ): void {
    let good = 0;
    for (const [i, { bytes, problem }] of shards.entries()) {
      const index = indices[i] ?? 0;
      const site = this.sites[index];
      if (!site) continue;
      if (problem === REFUSED_BY_CHARTER && this.#isRightlyWithheld(pack, index)) {
        // As good as one that was not read.
        site.withheld++;
        good++;
        continue;
      }
      site.verified++;
      site.bytesRead += bytes;
      if (problem === undefined) {
        good++;
        continue;
      }
      site.damaged++;
      this.#find(site.site, shardName(pack.id, index), problem);
    }
    this.#score(pack, good);
  }

  /** Which shards a site may keep from this home is the same for everybody who works it out. */
  #isRightlyWithheld({ id, pack, k, n }: PackRow, index: number): boolean {
    const { catalog, home } = this.#options;
    const newest = catalog.latestSnapshot(this.#register);
    const isOpenEpoch = newest && catalog.pack(this.#register, newest.epoch, pack) !== undefined;
    return !isOpenEpoch && !isAudited(home.agent.id, { id, index, k, n });
  }

  #score(pack: PackRow, good: number): void {
    this.packCount++;
    this.survives = Math.min(this.survives, good - pack.k);
  }

  #find(site: string, object: string, why: string): void {
    this.findingCount++;
    if (this.findings.length < FINDINGS_KEPT_MAX) this.findings.push({ site, object, why });
  }

  #bytesRead(): number {
    return this.sites.reduce((sum, site) => sum + site.bytesRead, 0);
  }
}
