/** Writes to the sites of a register and counts: nothing is durable before the write quorum says so. */
import { ExclaveError } from "../errors.ts";
import { asEnforcing } from "../sites/enforcing.ts";
import type { Site } from "../sites/site.ts";
import { isOpen, type SitePlace } from "./open-sites.ts";

/**
 * How long the other sites have once the write quorum has confirmed: a run does not wait for the slowest of them, and
 * one that is only somewhat slower keeps up.
 */
export type Grace = {
  readonly graceMsMin: number;
  /** Or so many times as long as the quorum took, when that is more. */
  readonly graceFactor: number;
};

export type DurableAt = {
  /** Sites that follow the charter, whoever asks them. */
  readonly enforcing: number;
  /** Directories and buckets. */
  readonly storing: number;
};

const GRACE: Grace = { graceMsMin: 30_000, graceFactor: 4 };

export class QuorumWriter {
  readonly places: readonly SitePlace[];
  readonly #quorum: number;
  readonly #grace: Grace;
  /** Sites that failed in this run; they are not asked again, and owed what they lack. */
  readonly #failed = new Map<string, string>();

  /** Throws `write-quorum` at once when too few sites are open. */
  constructor(places: readonly SitePlace[], quorum: number, grace: Grace = GRACE) {
    this.places = places;
    this.#quorum = quorum;
    this.#grace = grace;
    for (const place of places) if (!isOpen(place)) this.#failed.set(place.name, place.problem);
    this.#require(places.length - this.#failed.size);
  }

  /** Sites that did not take part, with the reason. */
  get failedSites(): ReadonlyMap<string, string> {
    return this.#failed;
  }

  /** How many sites have everything that was written, by what they are: those that only store prevent no removal. */
  get durableAt(): DurableAt {
    const sites = this.places.filter(isOpen).filter(({ name }) => !this.#failed.has(name));
    const enforcing = sites.filter(({ site }) => asEnforcing(site)).length;
    return { enforcing, storing: sites.length - enforcing };
  }

  /** Stores the same object at every site. Resolves when the write quorum has it durably; throws `write-quorum`. */
  async putEverywhere(name: string, bytes: Uint8Array): Promise<void> {
    await this.putEach(() => ({ name, parts: [bytes] }));
  }

  /**
   * Stores one object at each site. Resolves when all have answered or are late, with the places (by index)
   * that do not have it; throws `write-quorum` when too few have. In either case the parts are free again.
   */
  async putEach(
    objectAt: (index: number) => { readonly name: string; readonly parts: readonly Uint8Array[] },
  ): Promise<readonly number[]> {
    return this.each((site, index) => {
      const { name, parts } = objectAt(index);
      return site.put(name, parts);
    });
  }

  /**
   * Does the same at each site, and counts as `putEach` does. What a site is still storing when its grace is
   * over is aborted, where the site can abort, and the site counts as failed for the rest of the run.
   */
  async each(write: (site: Site, index: number) => Promise<void>): Promise<readonly number[]> {
    const late = new AbortController();
    const began = performance.now();
    let confirmed = 0;
    let timer: NodeJS.Timeout | undefined;
    const confirm = (): void => {
      if (++confirmed !== this.#quorum) return;
      const { graceMsMin, graceFactor } = this.#grace;
      const graceMs = Math.max(graceMsMin, graceFactor * (performance.now() - began));
      timer = setTimeout(() => late.abort(), graceMs);
    };
    const stored = await Promise.all(
      this.places.map(async (place, index) => {
        if (!isOpen(place) || this.#failed.has(place.name)) return false;
        try {
          await write(abortable(place.site, late.signal), index);
          confirm();
          return true;
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error);
          this.#failed.set(place.name, late.signal.aborted ? `late: ${why}` : why);
          return false;
        }
      }),
    );
    clearTimeout(timer);
    this.#require(stored.filter((done) => done).length);
    return stored.flatMap((done, index) => (done ? [] : [index]));
  }

  #require(durable: number): void {
    if (durable >= this.#quorum) return;
    const reasons = [...this.#failed].map(([site, why]) => `${site}: ${why}`).join("; ");
    throw new ExclaveError(
      "write-quorum",
      `${durable} of ${this.places.length} sites can store, and ${this.#quorum} must (${reasons}). Nothing was committed; earlier recovery points are untouched, and what was stored is not stored again. Mend a site and run it again`,
    );
  }
}

/** The site, with every put aborted by the signal. */
function abortable(site: Site, signal: AbortSignal): Site {
  return {
    identity: site.identity,
    put: (name, parts) => site.put(name, parts, { signal }),
    read: (name, offset, into, options) => site.read(name, offset, into, options),
    stat: (name) => site.stat(name),
    list: (kind) => site.list(kind),
  };
}
