/**
 * What a thread that reads packs has fetched before it asks for it. It waits for one fetch at a time; over a line of
 * 80 ms, long fetches that follow each other without a pause are what keeps the line full.
 *
 * As file systems read ahead: a window is fetched ahead as soon as half of the one before was read. When reading has
 * gone on without a jump, it is stretches of several windows, and then also of the packs that are planned to be next.
 */
import { type DispersedRef, rowsRange, type ShardRange, shardRoom, windowRows } from "./gather.ts";
import type { DispersalId } from "./identifiers.ts";
import { BLOCK_BYTES, blocksPerPiece } from "./shard.ts";

/** Stretches that are fetched ahead at once. */
export const STRETCHES_MAX = 2;
/** Windows in one: most packs are no longer. */
const STRETCH_WINDOWS = 4;
/** What was fetched ahead and not read when so many windows were read since is not waited for any longer. */
const STRETCH_AGE_MAX = 2 * STRETCHES_MAX * STRETCH_WINDOWS;
/** Packs of which is remembered that they were begun. */
const PACKS_REMEMBERED_MAX = 64;

/** Memory for a stretch of packs of these k and n. */
export function stretchBytes(k: number, n: number): number {
  return k * (shardRoom(k, n) + (STRETCH_WINDOWS - 1) * windowRows(k) * BLOCK_BYTES);
}

/** How a shard is asked for. */
type How = { readonly mayBeLate: boolean; readonly isLastResort: boolean };
export type AheadRange = ShardRange & How;

export type ReadAheadOptions = {
  /** Whether what was begun in that slot, of `STRETCHES_MAX`, is still under way; it cannot be used again then. */
  readonly isBusy: (slot: number) => boolean;
  /** Begins to fetch into a slot. */
  readonly fetch: (slot: number, ranges: readonly AheadRange[]) => void;
  /** A pack that will probably be read after those that it gave before; undefined when none is known. */
  readonly next: () => DispersedRef | undefined;
  /** Shard indices, best first. */
  readonly prefer: (n: number) => readonly number[];
};

/** Rows of a pack, up to `end`, and windows that were read since they were begun. */
type Stretch = { readonly id: DispersalId; readonly end: number; age: number };

export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** Those that were begun and not read to their end, by slot. */
  readonly #stretches = new Map<number, Stretch>();
  /** Packs that were begun, and up to which row they were fetched; the latest last. */
  readonly #begun = new Map<DispersalId, number>();
  /** Planned packs that nothing was read of yet. */
  readonly #coming: DispersedRef[] = [];
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
  read(ref: DispersedRef, row: number, goesOn: boolean): void {
    const planned = this.#coming.findIndex(({ id }) => id === ref.id);
    if (planned >= 0) this.#coming.splice(planned, 1);
    if (goesOn) this.#run++;
    else if (planned < 0 || row > 0) this.#run = 0;
    // What was fetched of it before a jump is not what comes next.
    if (!goesOn && (planned < 0 || !this.#begun.has(ref.id))) this.#remember(ref.id, row);
    for (const [slot, stretch] of this.#stretches) {
      const isRead = stretch.id === ref.id && row + windowRows(ref.k) >= stretch.end;
      if (isRead || ++stretch.age > STRETCH_AGE_MAX) this.#stretches.delete(slot);
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
    if (!this.#fillPack(ref, row, indices, how) || this.#run === 0) return;
    for (let i = 0; ; i++) {
      const pack = this.#coming[i] ?? this.#plan();
      if (!pack) return;
      const { k, n } = pack;
      const spare = { mayBeLate: n > k, isLastResort: n <= k };
      const chosen = this.#options.prefer(n).slice(0, k);
      if (!this.#fillPack(pack, 0, chosen, () => spare)) return;
    }
  }

  /** The next pack that is planned and was not begun. */
  #plan(): DispersedRef | undefined {
    for (let i = 0; i < PACKS_REMEMBERED_MAX; i++) {
      const pack = this.#options.next();
      if (pack && this.#begun.has(pack.id)) continue;
      if (pack) this.#coming.push(pack);
      return pack;
    }
    return undefined;
  }

  /** False when there is no room for all of it. */
  #fillPack(
    ref: DispersedRef,
    row: number,
    indices: readonly number[],
    how: (index: number) => How,
  ): boolean {
    const blocks = blocksPerPiece(ref.packBytes, ref.k);
    const rowsMax = windowRows(ref.k) * (this.#run === 0 ? 1 : STRETCH_WINDOWS);
    for (let next = Math.max(row, this.#begun.get(ref.id) ?? 0); next < blocks; ) {
      const slot = this.#freeSlot();
      if (slot === undefined) return false;
      const wanted = { firstRow: next, rows: Math.min(rowsMax, blocks - next) };
      next += wanted.rows;
      this.#stretches.set(slot, { id: ref.id, end: next, age: 0 });
      this.#remember(ref.id, next);
      this.#options.fetch(
        slot,
        indices.map((index) => ({ ...rowsRange(ref, index, wanted), ...how(index) })),
      );
    }
    return true;
  }

  #freeSlot(): number | undefined {
    if (this.#run === 0 && this.#stretches.size > 0) return undefined;
    for (let slot = 0; slot < STRETCHES_MAX; slot++) {
      if (!this.#stretches.has(slot) && !this.#options.isBusy(slot)) return slot;
    }
    return undefined;
  }

  #remember(id: DispersalId, row: number): void {
    this.#begun.delete(id);
    this.#begun.set(id, row);
    const [oldest] = this.#begun.keys();
    if (this.#begun.size > PACKS_REMEMBERED_MAX && oldest !== undefined) this.#begun.delete(oldest);
  }
}
