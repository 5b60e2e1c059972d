/** Where shards are had from: the sites, each call timed, and given up where it may be and takes unusually long. */
import { isExclaveError } from "../errors.ts";
import { isLeftAlone } from "../sites/circuit.ts";
import type { CallOptions } from "../sites/site.ts";
import type { ShardRange } from "../vault/gather.ts";
import { isOpen, type SitePlace } from "../vault/open-sites.ts";
import { shardName } from "../vault/shard.ts";
import {
  FETCH_DONE,
  FETCH_LATE,
  FETCH_LEFT_ALONE,
  FETCH_NOT_FOUND,
  FETCH_REFUSED,
  FETCH_SHORT,
  FETCH_UNAVAILABLE,
} from "./read-messages.ts";
import { ShardSpeeds } from "./shard-speeds.ts";

/** How a shard is asked for; see `ShardRequest`. */
export type How = { readonly mayBeLate: boolean; readonly isLastResort: boolean };

/** Fills `into` with the range of a shard, and settles when nobody does any more. Gives a `FETCH_*`. */
export type ShardRead = (
  range: Omit<ShardRange, "bytes">,
  into: Uint8Array,
  how: How,
) => Promise<number>;

export class ShardSource {
  readonly speeds: ShardSpeeds;
  readonly #places: readonly SitePlace[];
  readonly #strict: boolean;

  /** @param strict look for a shard only where it belongs */
  constructor(
    places: readonly SitePlace[],
    strict = false,
    speeds = new ShardSpeeds(places.length),
  ) {
    this.speeds = speeds;
    this.#places = places;
    this.#strict = strict;
  }

  /** A `ShardRead`. Needs no `this`. */
  readonly read: ShardRead = (range, into, { mayBeLate, isLastResort }) =>
    this.speeds.timed(range.index, into.length, mayBeLate, (signal) =>
      this.#from(range, into, { signal, isLastResort }),
    );

  /**
   * The same, and who waits for it says when it is late: with the signal, whose reason is what it gives then. Only
   * `FETCH_LATE` says how fast the site is.
   */
  readUntil(
    range: Omit<ShardRange, "bytes">,
    into: Uint8Array,
    how: Required<CallOptions>,
  ): Promise<number> {
    return this.speeds.timed(range.index, into.length, false, () => this.#from(range, into, how));
  }

  /** Looks where the shard belongs, then everywhere: sites may have been given in another order. */
  async #from(
    { id, index, offset }: Omit<ShardRange, "bytes">,
    into: Uint8Array,
    how: CallOptions,
  ): Promise<number> {
    const { signal } = how;
    const name = shardName(id, index);
    const home = this.#places.slice(index, index + 1);
    const others = this.#strict ? [] : this.#places.filter((_, place) => place !== index);
    let status = FETCH_UNAVAILABLE;
    let wasLeftAlone = false;
    for (const place of [...home, ...others]) {
      if (signal?.aborted) return whyAborted(signal);
      if (!isOpen(place)) continue;
      try {
        const got = await place.site.read(name, offset, into, how);
        if (got === into.length) return FETCH_DONE;
        status = FETCH_SHORT;
      } catch (error) {
        if (!isExclaveError(error)) throw error;
        // The site has it, and others than it would not.
        if (error.code === "refused") return FETCH_REFUSED;
        if (error.code === "not-found" && status !== FETCH_SHORT) status = FETCH_NOT_FOUND;
        wasLeftAlone ||= isLeftAlone(error);
      }
    }
    if (signal?.aborted) return whyAborted(signal);
    // Who cannot ask others, as a check cannot, is told that the site does not answer.
    return wasLeftAlone && signal ? FETCH_LEFT_ALONE : status;
  }
}

function whyAborted({ reason }: AbortSignal): number {
  return reason === FETCH_LEFT_ALONE ? FETCH_LEFT_ALONE : FETCH_LATE;
}
