/**
 * What a thread that reads packs has fetched before it asks for it, as file systems read ahead: the next window as soon
 * as half of one was read, and when reading has gone on without a jump, the one behind it too.
 */
import { type DispersedRef, rowsRange, type ShardRange, shardRoom, windowRows } from "./gather.ts";
import type { DispersalId } from "./identifiers.ts";
import { blocksPerPiece } from "./shard.ts";

/** Windows that are fetched ahead at once. */
export const AHEAD_MAX = 2;
/** Of a window nothing more is expected to be read when so many of others were read in between. */
const AGE_MAX = 2 * AHEAD_MAX;

/** Memory for a window of packs of these k and n. */
export function aheadBytes(k: number, n: number): number {
  return k * shardRoom(k, n);
}

/** How a shard is asked for. */
type How = { readonly mayBeLate: boolean; readonly isLastResort: boolean };
export type AheadRange = ShardRange & How;

export type ReadAheadOptions = {
  /** Whether somebody else has what will be read of a pack fetched. */
  readonly isFetched: (ref: DispersedRef) => boolean;
  /** Whether what was begun in that slot, of `AHEAD_MAX`, is still under way; it cannot be used again then. */
  readonly isBusy: (slot: number) => boolean;
  /** Begins to fetch into a slot. */
  readonly fetch: (slot: number, ranges: readonly AheadRange[]) => void;
};

/** Rows of a pack, `end` not among them, and windows of others that were read since it was read from. */
type Ahead = { readonly id: DispersalId; readonly end: number; age: number };

export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** Those that were begun and not read to their end, by slot. */
  readonly #ahead = new Map<number, Ahead>();
  /** Windows that were read one behind the other. */
  #run = 0;

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  /** True when reading has gone on for so long that there is no reason to wait for a sign that it goes on. */
  get isRunning(): boolean {
    return this.#run > 0;
  }

  /**
   * A window was read, from that row on.
   *
   * @param goesOn whether it is right behind what was read before of its pack
   */
  read({ id, k }: DispersedRef, row: number, goesOn: boolean): void {
    this.#run = goesOn ? this.#run + 1 : 0;
    for (const [slot, ahead] of this.#ahead) {
      const isOfIt = ahead.id === id;
      ahead.age = isOfIt ? 0 : ahead.age + 1;
      // What was fetched of it before a jump is not what comes next.
      const isRead = isOfIt && (!goesOn || row + windowRows(k) >= ahead.end);
      if (isRead || ahead.age > AGE_MAX) this.#ahead.delete(slot);
    }
  }

  /**
   * Has what follows fetched.
   *
   * @param row of the pack that is being read, up to which it was read
   * @param indices of the shards that it is read from
   */
  fill(
    ref: DispersedRef,
    row: number,
    indices: readonly number[],
    how: (index: number) => How,
  ): void {
    if (this.#options.isFetched(ref)) return;
    const blocks = blocksPerPiece(ref.packBytes, ref.k);
    const ends = [...this.#ahead.values()].filter(({ id }) => id === ref.id).map(({ end }) => end);
    for (let firstRow = Math.max(row, ...ends); firstRow < blocks; ) {
      const slot = this.#freeSlot();
      if (slot === undefined) return;
      const rows = Math.min(windowRows(ref.k), blocks - firstRow);
      this.#options.fetch(
        slot,
        indices.map((index) => ({ ...rowsRange(ref, index, { firstRow, rows }), ...how(index) })),
      );
      firstRow += rows;
      this.#ahead.set(slot, { id: ref.id, end: firstRow, age: 0 });
    }
  }

  #freeSlot(): number | undefined {
    if (this.#run === 0 && this.#ahead.size > 0) return undefined;
    for (let slot = 0; slot < AHEAD_MAX; slot++) {
      if (!this.#ahead.has(slot) && !this.#options.isBusy(slot)) return slot;
    }
    return undefined;
  }
}
