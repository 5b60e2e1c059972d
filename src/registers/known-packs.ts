/**
 * What a run may take for stored: the chunks of packs that enough sites really list. A catalog may claim
 * more (a site was lost, home came back from a backup); a snapshot built on that could not be restored.
 */
import { ExclaveError, isExclaveError } from "../errors.ts";
import type { Site } from "../sites/site.ts";
import type { Catalog } from "../vault/catalog.ts";
import { tableChunkIds } from "../vault/chunk-reader.ts";
import type { SnapshotRoot } from "../vault/documents.ts";
import { type EpochContext, idFromBytes, type PackId, parseId } from "../vault/identifiers.ts";
import { KnownIds, newGeneration } from "../vault/known-ids.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import type { OpenEpoch } from "./epoch.ts";
import { EpochReader, startReadPool } from "./epoch-reader.ts";

/** An index segment as a root names it. */
export type IndexSegment = SnapshotRoot["index"][number];

export type KnownPacks = {
  readonly ids: KnownIds;
  /** Packs that the newest index needs and that fewer than k sites list shards of now. */
  readonly lostPacks: number;
  /** The segments that can be read, oldest first. */
  readonly segments: readonly IndexSegment[];
  /** True when some hold lost packs, or are lost themselves: the index must be written anew. */
  readonly rewriteIndex: boolean;
};

const NAMES_AT_ONCE = 4096;
/** Shards that a site may name beyond those that home knows: of runs that were stopped, and of homes before. */
const NAMES_BEYOND_MAX = 1_000_000;

export async function loadKnown(options: {
  readonly catalog: Catalog;
  readonly cachePath: string;
  readonly places: readonly SitePlace[];
  readonly epoch: OpenEpoch;
}): Promise<KnownPacks> {
  const { catalog, places, epoch } = options;
  const { context } = epoch;
  await listHeld(catalog, places);
  forgetOpenLost(catalog, context);
  let lostPacks = 0;

  const ids = new KnownIds([newGeneration(65_536, 0)]);
  const segments: IndexSegment[] = [];
  let rewriteIndex = false;
  const startPool = () =>
    startReadPool({
      workers: 1,
      places,
      shapes: catalog.shapes(context.register, context.epoch),
      epoch,
      numericOwner: false,
      onProblem: () => undefined,
    });
  const reader = new EpochReader(startPool, catalog, options.cachePath, context);
  try {
    for (const { ref } of catalog.segments(context.register, context.epoch)) {
      const segment = JSON.parse(ref) as IndexSegment;
      try {
        for await (const { pack, table } of reader.segmentRecords(segment)) {
          if (isHeld(catalog, context, idFromBytes("PackId", pack))) claimAll(ids, table);
          else lostPacks++;
        }
        // The segment itself is in the cache; a snapshot that names it needs it abroad.
        lostPacks += segment.packs.filter(
          (id) => !isHeld(catalog, context, parseId("PackId", id)),
        ).length;
        segments.push(segment);
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        // The segment cannot be had; what it lists is stored again, and the index written without it.
        rewriteIndex = true;
      }
    }
  } finally {
    await reader.close();
  }
  for (const { table } of catalog.openPacks(context.register, context.epoch)) {
    if (table) claimAll(ids, table);
  }
  return { ids, lostPacks, segments, rewriteIndex: rewriteIndex || lostPacks > 0 };
}

function claimAll(ids: KnownIds, table: Uint8Array): void {
  for (const id of tableChunkIds(table)) ids.claim(id);
  ids.grow();
}

/**
 * Which shards the open sites list. A site's word counts for the shards that belong to it and no
 * others: one that lies can lose its own, and not make others' look safe. Returns the sites that could
 * not list to the end, with the reason; they count as holding what they had named until then.
 */
export async function listHeld(
  catalog: Catalog,
  places: readonly SitePlace[],
): Promise<ReadonlyMap<string, string>> {
  const failed = new Map<string, string>();
  catalog.beginHeld();
  await Promise.all(
    places.map(async (place, index) => {
      if (!isOpen(place)) return;
      try {
        await listHeldAt(catalog, place.site, index);
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        failed.set(place.name, error.message);
      }
    }),
  );
  return failed;
}

/**
 * The same of one site, whose shards have this index. Throws `site-unavailable` when it cannot list, or names more than
 * it can have.
 */
export async function listHeldAt(catalog: Catalog, site: Site, index: number): Promise<void> {
  const own = `.${String(index).padStart(2, "0")}`;
  const namesMax = catalog.packTotal() + NAMES_BEYOND_MAX;
  let names: string[] = [];
  let count = 0;
  for await (const name of site.list("shard")) {
    if (!name.endsWith(own)) continue;
    if (++count > namesMax) {
      throw new ExclaveError(
        "site-unavailable",
        `site ${site.identity.name} names more shards than it can have been given. Ask its operator why`,
      );
    }
    names.push(name);
    if (names.length < NAMES_AT_ONCE) continue;
    catalog.addHeld(names);
    names = [];
  }
  catalog.addHeld(names);
}

/** Packs that no snapshot has yet and too few sites list are stored again rather than waited for. */
function forgetOpenLost(catalog: Catalog, context: EpochContext): void {
  const { register, epoch } = context;
  for (const { pack } of catalog.openPacks(register, epoch)) {
    if (!isHeld(catalog, context, pack)) catalog.forgetPack(register, epoch, pack);
  }
}

/** True for a pack that the catalog lists and at least k sites have shards of. */
export function isHeld(catalog: Catalog, context: EpochContext, id: PackId): boolean {
  const pack = catalog.pack(context.register, context.epoch, id);
  return pack !== undefined && catalog.heldShards(pack.id) >= pack.k;
}
