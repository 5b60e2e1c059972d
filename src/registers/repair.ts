/**
 * Gives sites what they should have and have not: shards made anew from any k others, and documents.
 * Needs no key of the State. What a site holds damaged is not touched: objects are written once.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import { OBJECT_KINDS } from "../sites/site.ts";
import type { Catalog, PackRow } from "../vault/catalog.ts";
import type { RegisterConfig } from "../vault/home.ts";
import { parseId } from "../vault/identifiers.ts";
import { MANIFEST_ROW_BYTES, writeManifestRow } from "../vault/manifest.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { shardName } from "../vault/shard.ts";
import { allNames, namesAt, readEach } from "../vault/site-documents.ts";
import { type ReadPool, startReadPool } from "./epoch-reader.ts";
import { defaultWorkers } from "./seal-session.ts";

export type RepairReport = {
  /** Shards made anew and stored, by site. */
  readonly repaired: Readonly<Record<string, { shards: number }>>;
  /** Packs that fewer than k sites have shards of: nothing can be made of them. */
  readonly lostPacks: number;
  /** What could not be repaired, and why. */
  readonly problems: readonly string[];
};

export type RepairOptions = {
  readonly catalog: Catalog;
  readonly register: RegisterConfig;
  readonly places: readonly SitePlace[];
  /** Packs of which so many shards are held are left as they are; all n unless told otherwise. */
  readonly enough?: number;
  readonly onProgress?: (progress: { readonly packs: number; readonly shards: number }) => void;
};

const PACKS_IN_FLIGHT_MAX = 4;
const PROBLEMS_KEPT_MAX = 100;

/** Repairs what the open sites lack. `listHeld` must have been called for these places. */
export async function repairShards(options: RepairOptions): Promise<RepairReport> {
  const run = new RepairRun(options);
  await run.shards();
  return run.report();
}

/**
 * Copies every document that some open site has to those that have it not.
 *
 * @param onNotice told of a site that is passed by
 */
export async function repairDocuments(
  places: readonly SitePlace[],
  onNotice?: (notice: string) => void,
): Promise<ReadonlyMap<string, number>> {
  const copied = new Map<string, number>();
  for (const kind of OBJECT_KINDS) {
    if (kind === "shard" || kind === "site") continue;
    const named = await namesAt(places, kind, { onNotice });
    await readEach(named, kind, {
      // Junk that no site has as its name says is not spread.
      ids: [...allNames(named)].filter((id) => named.some(({ ids }) => !ids.has(id))),
      onNotice,
      take: async (id, bytes) => {
        for (const { place, ids } of named) {
          if (ids.has(id)) continue;
          try {
            await place.site.put(`${kind}/${id}`, [bytes]);
            copied.set(place.name, (copied.get(place.name) ?? 0) + 1);
          } catch (error) {
            // A site that fails now is named by status.
            if (!isExclaveError(error)) throw error;
          }
        }
      },
    });
  }
  return copied;
}

class RepairRun {
  readonly #options: RepairOptions;
  readonly #repaired: Record<string, { shards: number }> = {};
  readonly #problems: string[] = [];
  #lostPacks = 0;
  readonly #owed: boolean;
  #packs = 0;
  #shards = 0;

  constructor(options: RepairOptions) {
    this.#options = options;
    this.#owed = options.catalog.debts().length > 0;
  }

  report(): RepairReport {
    return { repaired: this.#repaired, lostPacks: this.#lostPacks, problems: this.#problems };
  }

  async shards(): Promise<void> {
    const { catalog, places, register } = this.#options;
    let pool: ReadPool | undefined;
    const inFlight: Promise<void>[] = [];
    try {
      for (const pack of catalog.packsOf(parseId("RegisterId", register.id))) {
        this.#packs++;
        const missing = this.#missing(pack);
        if (missing.length === 0) continue;
        pool ??= startReadPool({
          workers: defaultWorkers(),
          places,
          shapes: [{ k: register.k, n: register.sites.length }],
          numericOwner: false,
          onProblem: () => undefined,
        });
        inFlight.push(this.#rebuild(pool, pack, missing));
        if (inFlight.length >= PACKS_IN_FLIGHT_MAX) await inFlight.shift();
      }
      await Promise.all(inFlight);
    } finally {
      await Promise.allSettled(inFlight);
      await pool?.close();
    }
  }

  /** Indices of shards that an open site should have and does not list; none when there are enough. */
  #missing(pack: PackRow): readonly number[] {
    const { catalog, places } = this.#options;
    const indices = Array.from({ length: pack.n }, (_, index) => index);
    const held = indices.filter((index) => catalog.isHeld(shardName(pack.id, index)));
    // A site may have stored what it did not live to say.
    if (this.#owed) for (const index of held) catalog.removeDebt(pack.id, index);
    if (held.length >= (this.#options.enough ?? pack.n)) return [];
    if (held.length < pack.k) {
      this.#lostPacks++;
      return [];
    }
    return indices.filter((index) => {
      const place = places[index];
      return place !== undefined && isOpen(place) && !held.includes(index);
    });
  }

  async #rebuild(pool: ReadPool, pack: PackRow, indices: readonly number[]): Promise<void> {
    const { catalog, places, onProgress } = this.#options;
    try {
      const row = Buffer.alloc(MANIFEST_ROW_BYTES);
      writeManifestRow(row, 0, pack);
      const { done } = await pool.submit({ type: "rebuild", row, indices });
      const result = await done;
      if (result.type !== "rebuilt")
        throw new ExclaveError("bug", "a worker answered another question");
      for (const { index, parts } of result.shards) {
        const place = places[index];
        if (!place || !isOpen(place)) continue;
        await place.site.put(shardName(pack.id, index), parts);
        catalog.removeDebt(pack.id, index);
        catalog.addHeldShard(shardName(pack.id, index));
        this.#repaired[place.name] ??= { shards: 0 };
        const count = this.#repaired[place.name];
        if (count) count.shards++;
        this.#shards++;
      }
      onProgress?.({ packs: this.#packs, shards: this.#shards });
    } catch (error) {
      if (!isExclaveError(error) || error.code === "bug") throw error;
      if (this.#problems.length < PROBLEMS_KEPT_MAX) this.#problems.push(error.message);
    }
  }
}
