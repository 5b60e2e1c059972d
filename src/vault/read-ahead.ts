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
/** Windows in one from sites far away: most packs are no longer. From a disk next door one is enough. */
export const STRETCH_WINDOWS = { far: 4, near: 1 } as const;
/** Of a stretch nothing more is expected to be read when so many windows of others were read in between. */
const STRETCH_AGE_MAX = STRETCHES_MAX * STRETCH_WINDOWS.far;
/** Visits that are planned and not begun, of which is known. */
const COMING_MAX = 8;
/** Packs of which is remembered that they were begun. */
const PACKS_REMEMBERED_MAX = 64;

/** Memory for a stretch of so many windows of packs of these k and n. */
export function stretchBytes(k: number, n: number, windows: number): number {
  return k * (shardRoom(k, n) + (windows - 1) * windowRows(k) * BLOCK_BYTES);
}

/** How a shard is asked for. */
type How = { readonly mayBeLate: boolean; readonly isLastResort: boolean };
export type AheadRange = ShardRange & How;

export type ReadAheadOptions = {
  /** One of `STRETCH_WINDOWS`. */
  readonly stretchWindows: number;
  /** Whether what was begun in that slot, of `STRETCHES_MAX`, is still under way; it cannot be used again then. */
  readonly isBusy: (slot: number) => boolean;
  /** Begins to fetch into a slot. */
  readonly fetch: (slot: number, ranges: readonly AheadRange[]) => void;
  /** What will probably be read after what it gave before; undefined when nothing is known. */
  readonly next: () => Visit | undefined;
  /** Shard indices, best first. */
  readonly prefer: (n: number) => readonly number[];
};

/** What is planned to be read of a pack: from about which row, and up to which. */
export type Visit = {
  readonly ref: DispersedRef;
  readonly startRow: number;
  readonly endRow: () => number;
};

type Begun = { readonly row: number; readonly indices: readonly number[] };

/** Rows of a pack, `end` not among them, and windows of others that were read since it was read from. */
type Stretch = {
  readonly id: DispersalId;
  readonly from: number;
  readonly end: number;
  age: number;
};

/**
 * The row from which a visit is fetched: the first, with the front, unless much lies before what is wanted. Chunks are
 * not all as long, so then it is somewhat before.
 */
function beginOf({ ref, startRow }: Visit): number {
  const window = windowRows(ref.k);
  return startRow < 2 * window ? 0 : startRow - Math.floor(window / 2);
}

export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** Those that were begun and not read to their end, by slot. */
  readonly #stretches = new Map<number, Stretch>();
  /** Packs that were begun, up to which row they were fetched, and from which shards; the latest last. */
  readonly #begun = new Map<DispersalId, Begun>();
  /** Planned visits that were not begun to be read. */
  readonly #coming: Visit[] = [];
  /** The latest of each pack; of the packs in `#begun`. */
  readonly #visits = new Map<DispersalId, Visit>();
  /** Windows that were read one behind the other. */
  #run = 0;

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  /** True when reading has gone on for so long that there is no reason to wait for a sign that it goes on. */
  get isRunning(): boolean {
    return this.#run > 0;
  }

  /** From which shards a pack was begun to be fetched: what is asked for now should be of the same. */
  indicesOf(id: DispersalId): readonly number[] {
    return this.#begun.get(id)?.indices ?? [];
  }

  /**
   * A window was read, from that row on.
   *
   * @param goesOn whether it is right behind what was read before of its pack
   */
  read(ref: DispersedRef, row: number, goesOn: boolean): void {
    const planned = this.#coming.findIndex((visit) => visit.ref.id === ref.id);
    // What was planned before it was passed by.
    this.#coming.splice(0, planned + 1);
    if (goesOn) this.#run++;
    else if (planned < 0 && !this.#isFetched(ref, row)) {
      this.#run = 0;
      // What was fetched of it before a jump is not what comes next.
      this.#remember(ref.id, { row, indices: [] });
    }
    for (const [slot, stretch] of this.#stretches) {
      const isOfIt = stretch.id === ref.id;
      const isRead = isOfIt && row + windowRows(ref.k) >= stretch.end;
      stretch.age = isOfIt ? 0 : stretch.age + 1;
      if (!isRead && stretch.age <= STRETCH_AGE_MAX) continue;
      this.#stretches.delete(slot);
      if (!isRead) this.#forget(stretch);
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
    // What is planned of this very pack may not be known yet.
    while (!this.#visits.has(ref.id) && this.#plan());
    if (this.#coming.at(-1)?.ref.id === ref.id) this.#coming.pop();
    if (!this.#fillPack(ref, row, indices, how) || this.#run === 0) return;
    for (let i = 0; ; i++) {
      const visit = this.#coming[i] ?? this.#plan();
      if (!visit) return;
      const { k, n } = visit.ref;
      const spare = { mayBeLate: n > k, isLastResort: n <= k };
      const chosen = this.#options.prefer(n).slice(0, k);
      const start = beginOf(visit);
      if (!this.#fillPack(visit.ref, start, chosen, () => spare)) return;
    }
  }

  #isFetched({ id }: DispersedRef, row: number): boolean {
    return [...this.#stretches.values()].some((one) => one.id === id && row < one.end);
  }

  /** The next visit that is planned. */
  #plan(): Visit | undefined {
    const visit = this.#coming.length < COMING_MAX ? this.#options.next() : undefined;
    if (!visit) return undefined;
    const { id } = visit.ref;
    this.#visits.set(id, visit);
    this.#remember(id, this.#begun.get(id) ?? { row: 0, indices: [] });
    this.#coming.push(visit);
    return visit;
  }

  /** False when there is no room for all of it. */
  #fillPack(
    ref: DispersedRef,
    row: number,
    indices: readonly number[],
    how: (index: number) => How,
  ): boolean {
    const blocks = blocksPerPiece(ref.packBytes, ref.k);
    const end = this.#visits.get(ref.id)?.endRow() ?? blocks;
    const window = windowRows(ref.k);
    for (let next = Math.max(row, this.#begun.get(ref.id)?.row ?? 0); next < end; ) {
      const slot = this.#freeSlot();
      if (slot === undefined) return false;
      // Whole windows, since these are what is asked for.
      const windows = Math.min(
        Math.ceil((end - next) / window),
        this.#run === 0 ? 1 : this.#options.stretchWindows,
      );
      const wanted = { firstRow: next, rows: Math.min(windows * window, blocks - next) };
      next += wanted.rows;
      this.#stretches.set(slot, { id: ref.id, from: wanted.firstRow, end: next, age: 0 });
      this.#remember(ref.id, { row: next, indices });
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

  /** What was not read of it may be fetched again. */
  #forget({ id, from, end }: Stretch): void {
    const begun = this.#begun.get(id);
    if (begun?.row === end) this.#remember(id, { ...begun, row: from });
  }

  #remember(id: DispersalId, begun: Begun): void {
    this.#begun.delete(id);
    this.#begun.set(id, begun);
    const [oldest] = this.#begun.keys();
    if (this.#begun.size <= PACKS_REMEMBERED_MAX || oldest === undefined) return;
    this.#begun.delete(oldest);
    this.#visits.delete(oldest);
  }
}
