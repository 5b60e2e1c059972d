/**
 * Locks at engines that are written to directly: short when an object is stored, so that what no recovery point ever
 * used goes away again, and as long as the charter says once a recovery point keeps it.
 */
import { isExclaveError } from "../errors.ts";
import { asLocking, type Locking } from "../sites/locking.ts";
import { OBJECT_KINDS, type Site } from "../sites/site.ts";
import type { Catalog } from "../vault/catalog.ts";
import type { RegisterId } from "../vault/identifiers.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { shardName } from "../vault/shard.ts";

/** What a place keeps for a register: its shard of every pack, and every document that it has. */
export async function* keptAt(
  catalog: Catalog,
  register: RegisterId,
  place: SitePlace,
  index: number,
): AsyncGenerator<string> {
  for (const { id, n } of catalog.packsOf(register)) if (index < n) yield shardName(id, index);
  if (!isOpen(place)) return;
  for (const kind of OBJECT_KINDS) if (kind !== "shard") yield* place.site.list(kind);
}

const EXTENDED_AT_ONCE = 8;

type Names = Iterable<string> | AsyncIterable<string>;

export type ExtendedLocks = {
  readonly site: string;
  readonly objects: number;
  /** Why not all of them. */
  readonly problem?: string;
};

/**
 * Has each place that locks keep these objects until then. What it cannot extend is in what it returns, and stays
 * locked for as long as it was.
 *
 * @param namesAt what the place at that index keeps for recovery points
 */
export async function extendLocks(
  places: readonly SitePlace[],
  until: Date,
  namesAt: (place: SitePlace, index: number) => Names,
): Promise<readonly ExtendedLocks[]> {
  const extended = await Promise.all(
    places.map(async (place, index): Promise<ExtendedLocks | undefined> => {
      const site = isOpen(place) ? asLocking(place.site) : undefined;
      return site && extendAt(place.name, site, until, namesAt(place, index));
    }),
  );
  return extended.filter((one) => one !== undefined);
}

async function extendAt(
  name: string,
  site: Site & Locking,
  until: Date,
  names: Names,
): Promise<ExtendedLocks> {
  let objects = 0;
  let problem: string | undefined;
  const waiting = inTurn(names);
  const run = async (): Promise<void> => {
    for (let next = await waiting.next(); !next.done; next = await waiting.next()) {
      try {
        await site.extend(next.value, until);
        objects++;
      } catch (error) {
        if (!isExclaveError(error) || error.code === "bug") throw error;
        // Absent here: repair makes it anew, and extends it then.
        if (error.code !== "not-found") problem ??= error.message;
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: EXTENDED_AT_ONCE }, run));
  } catch (error) {
    // The place stopped saying what it has.
    if (!isExclaveError(error) || error.code === "bug") throw error;
    problem ??= error.message;
  }
  return { site: name, objects, ...(problem === undefined ? {} : { problem }) };
}

/** One for all who take from it. */
async function* inTurn(names: Names): AsyncGenerator<string> {
  yield* names;
}
