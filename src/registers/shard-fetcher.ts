/**
 * A worker's side of fetching: it asks the main thread, which fills the worker's memory, and waits. What was fetched
 * ahead is found there.
 */
import { invariant } from "../errors.ts";
import type { ShardRange, ShardRequest } from "../vault/gather.ts";
import type { AheadRange } from "../vault/read-ahead.ts";
import {
  FETCH_DONE,
  FETCH_REASONS,
  FETCH_REQUESTS_MAX,
  FETCH_SLOT_WORDS,
  FETCH_SLOTS,
  type FetchMessage,
} from "./read-messages.ts";

/** The slot of what a worker waits for; the others are for what it has fetched ahead. */
const DEMAND = 0;

export type ShardFetcherOptions = {
  readonly control: Int32Array<SharedArrayBuffer>;
  /** Where in the kernel's memory each slot for what is fetched ahead begins, and how long they are. */
  readonly ahead: { readonly offset: number; readonly bytes: number };
  readonly view: (offset: number, bytes: number) => Uint8Array;
  readonly post: (message: FetchMessage) => void;
};

type Found = { readonly slot: number; readonly place: number; readonly at: number };

export class ShardFetcher {
  readonly #options: ShardFetcherOptions;
  /** By slot, what was asked for. */
  readonly #asked: (ShardRequest | undefined)[][] = Array.from({ length: FETCH_SLOTS }, () => []);

  constructor(options: ShardFetcherOptions) {
    this.#options = options;
  }

  /** A `ShardFetch`. Needs no `this`. */
  readonly fetch = (requests: readonly ShardRequest[]): readonly (number | string)[] => {
    const found = requests.map((request) => this.#find(request));
    const missing = requests.filter((_, i) => found[i] === undefined);
    if (missing.length > 0) this.#begin(DEMAND, missing);
    let next = 0;
    return requests.map((request, i) => {
      const { slot, place, at } = found[i] ?? { slot: DEMAND, place: next++, at: request.at };
      const { control } = this.#options;
      Atomics.wait(control, slot * FETCH_SLOT_WORDS, 1);
      const status = Atomics.load(control, slot * FETCH_SLOT_WORDS + 1 + place);
      if (status === FETCH_DONE) return at;
      // Told once: who asks for it again wants it asked for again.
      this.#asked[slot]?.splice(place, 1, undefined);
      return FETCH_REASONS[status] ?? "it could not be read";
    });
  };

  /** Whether what was begun in a slot for what is fetched ahead, of which there are `AHEAD_MAX`, is under way. */
  isBusy(ahead: number): boolean {
    return Atomics.load(this.#options.control, (1 + ahead) * FETCH_SLOT_WORDS) !== 0;
  }

  /** Begins to fetch into a slot that is not busy. What does not fit is left out. */
  fetchAhead(ahead: number, ranges: readonly AheadRange[]): void {
    const { offset, bytes } = this.#options.ahead;
    let at = offset + ahead * bytes;
    const end = at + bytes;
    const requests: ShardRequest[] = [];
    for (const range of ranges) {
      if (at + range.bytes > end) break;
      requests.push({ ...range, at });
      at += Math.ceil(range.bytes / 64) * 64;
    }
    if (requests.length > 0) this.#begin(1 + ahead, requests);
  }

  /** Where a range is that was fetched ahead, or is on its way. */
  #find(range: ShardRange): Found | undefined {
    for (const [slot, asked] of this.#asked.entries()) {
      if (slot === DEMAND) continue;
      const place = asked.findIndex((one) => one && holds(one, range));
      const found = asked[place];
      if (found) return { slot, place, at: found.at + range.offset - found.offset };
    }
    return undefined;
  }

  #begin(slot: number, requests: readonly ShardRequest[]): void {
    invariant(requests.length <= FETCH_REQUESTS_MAX, "a fetch is of so many shards at most");
    const { control, view, post } = this.#options;
    this.#asked[slot] = [...requests];
    Atomics.store(control, slot * FETCH_SLOT_WORDS, 1);
    post({
      type: "fetch",
      slot,
      requests: requests.map(({ id, index, offset, bytes, at, ...how }) => ({
        id,
        index,
        offset,
        into: view(at, bytes),
        mayBeLate: how.mayBeLate ?? false,
        isLastResort: how.isLastResort ?? false,
      })),
    });
  }
}

function holds(one: ShardRange, range: ShardRange): boolean {
  return (
    one.id === range.id &&
    one.index === range.index &&
    one.offset <= range.offset &&
    range.offset + range.bytes <= one.offset + one.bytes
  );
}
