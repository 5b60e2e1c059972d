/**
 * Receipts of sites that enforce: each signs for what a recovery point brought there. They lie at every site, and
 * convince a third party later, when a site says that it never had it.
 */
import { toHex } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { type ExclaveError, isExclaveError } from "../errors.ts";
import { asEnforcing } from "../sites/enforcing.ts";
import { openSiteReceipt } from "../sites/site-receipt.ts";
import { RECEIPT_OBJECTS_MAX } from "../sites/wire.ts";
import type { StateId } from "../vault/identifiers.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";

/** What a site was asked to sign for. */
export type Receipted = {
  readonly site: string;
  /** Objects that it says it holds. */
  readonly objects: number;
  /** Until then it promises to keep them. */
  readonly retainUntil?: string;
  /** Why there is no receipt, or not for all. */
  readonly problem?: string;
};

/**
 * Asks every site that enforces for receipts and leaves them at all of the places. What cannot be had is named in
 * what it returns, and harms nothing that was committed.
 *
 * @param namesAt what the site at a place should hold
 * @param failed sites that did not take part
 */
export async function gatherReceipts(
  state: StateId,
  places: readonly SitePlace[],
  failed: ReadonlySet<string>,
  namesAt: (index: number) => Iterable<string>,
): Promise<readonly Receipted[]> {
  const receipted = await Promise.all(
    places.map(async (place, index): Promise<Receipted | undefined> => {
      const site = isOpen(place) && !failed.has(place.name) ? asEnforcing(place.site) : undefined;
      if (!site) return undefined;
      let [objects, missing] = [0, 0];
      let retainUntil: string | undefined;
      try {
        for (const names of inBatches(namesAt(index), RECEIPT_OBJECTS_MAX)) {
          const envelope = await site.receipts(names);
          const said = openSiteReceipt(envelope, site.key, state);
          await leaveEverywhere(places, failed, envelope);
          objects += said.objects.length;
          missing += said.missing.length;
          if (retainUntil === undefined || said.retainUntil < retainUntil) ({ retainUntil } = said);
        }
      } catch (error) {
        return { site: place.name, objects, problem: messageOf(error) };
      }
      const until = retainUntil === undefined ? {} : { retainUntil };
      return missing === 0
        ? { site: place.name, objects, ...until }
        : {
            site: place.name,
            objects,
            ...until,
            problem: `it does not sign for ${missing} of ${objects + missing} objects: it lacks them, or has set them aside until its view of the ledger is fresh. The recovery point is committed; exclave check says what is missing there, exclave repair brings it`,
          };
    }),
  );
  return receipted.filter((one) => one !== undefined);
}

/** At every place that takes it: a site's word is worth most where the site is not. */
async function leaveEverywhere(
  places: readonly SitePlace[],
  failed: ReadonlySet<string>,
  envelope: Uint8Array,
): Promise<void> {
  await Promise.all(
    places.map(async (place) => {
      if (!isOpen(place) || failed.has(place.name)) return;
      try {
        await place.site.put(`site-receipt/${toHex(sha256(envelope))}`, [envelope]);
      } catch (error) {
        // The others have it; repair copies documents.
        if (!isExclaveError(error)) throw error;
      }
    }),
  );
}

function* inBatches(names: Iterable<string>, size: number): Generator<readonly string[]> {
  let batch: string[] = [];
  for (const name of names) {
    batch.push(name);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

function messageOf(error: unknown): string {
  if (!isExclaveError(error) || error.code === "bug") throw error;
  return (error as ExclaveError).message;
}
