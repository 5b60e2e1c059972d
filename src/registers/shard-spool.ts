/**
 * What will be read of shards that are far away, fetched before it is asked for, in the order in which it will be, and
 * kept on home's disk until something else needs the room. So a line has always something to carry, whoever waits for
 * whom; and what is read twice is fetched once: a pack that its writer had open for long, or that two workers read.
 */
import type { DispersedRef, ShardRange } from "../vault/gather.ts";
import type { DispersalId } from "../vault/identifiers.ts";
import { BLOCK_BYTES, blocksPerPiece, frontBytes, SITES_MAX, shardBytes } from "../vault/shard.ts";
import { PageFile } from "./page-file.ts";
import { FETCH_DONE, FETCH_LATE } from "./read-messages.ts";
import { isOfDisk, isSlow, PAGE_BYTES, type PageRun, ShardPages } from "./shard-pages.ts";
import type { How, ShardSource } from "./shard-source.ts";
import { slownessOf } from "./shard-speeds.ts";

/** Pages of one request, at most; a usual shard whole. Long ones keep a line full, and are memory meanwhile. */
const REQUEST_PAGES_MAX = 17;
/** Requests ahead, of each index and of all together. */
const REQUESTS_PER_INDEX = 3;
const BYTES_UNDER_WAY_MAX = 32 * 1024 * 1024;
/** Packs that are fetched at once: a site that has nothing to do for the first may have for the next. */
const PACKS_UNDER_WAY_MAX = 8;
/** A pack of which less content is wanted is fetched by whoever reads it, when it does. */
const WANTED_BYTES_MIN = 1024 * 1024;
/** Packs that are remembered; of more, those that were planned first are forgotten. */
const PACKS_REMEMBERED_MAX = 4096;
/**
 * Of what is kept, what nobody has asked for yet. Reading in order puts as much again behind it; with half, what is
 * read next would be what was touched longest ago, and have to make room.
 */
const UNREAD_SHARE_MAX = 1 / 3;
/** More than the work that is handed out takes, and less than what is under way and waited for needs. */
const LIMITS: SpoolLimits = {
  bytesMax: 1024 * 1024 * 1024,
  bytesMin: 128 * 1024 * 1024,
  diskShare: 1 / 4,
};

/** How much is kept on disk: at most `diskShare` of what is free there, and nothing where that is below `bytesMin`. */
export type SpoolLimits = {
  readonly bytesMax: number;
  readonly bytesMin: number;
  readonly diskShare: number;
};

/** From where to where in a pack, as shares of its chunks, and how much content that is. */
export type Wanted = { readonly bytes: number; readonly start: number; readonly end: number };

type Pack = {
  readonly ref: DispersedRef;
  readonly ordinal: number;
  wantedBytes: number;
  /** Pages of each of its shards that are wanted. */
  readonly wanted: Set<number>;
  /** By index of the k shards that it is read from: wanted pages that were not asked for. */
  readonly left: Map<number, Set<number>>;
  /** Something of it was asked for ahead. */
  isBegun: boolean;
  /** Somebody reads it: who does says from which shards. */
  isRead: boolean;
  /** Indices from which something of it was, or would have been, asked for in vain. */
  readonly failed: Set<number>;
};

export class ShardSpool {
  /** By the pack's ordinal, a bit for each index of the k shards that it is read from; 0 where it is not planned. */
  chosen = new Int32Array(new SharedArrayBuffer(0));
  readonly #source: ShardSource;
  readonly #pages: ShardPages;
  readonly #packs = new Map<DispersalId, Pack>();
  /** With pages that were not asked for, in the order in which they will be read. */
  readonly #queue = new Set<Pack>();
  /** By index: requests ahead that are under way, pages that are wanted, failures. */
  readonly #sites: { requests: number; pages: number; failures: number }[];
  #isWoken = false;
  private constructor(source: ShardSource, file: PageFile, indices: number) {
    this.#source = source;
    this.#pages = new ShardPages(source, file, {
      onAsked: (run) => this.#asked(run),
      onFailed: (run, outcome) => this.#failed(run, outcome),
      // Workers look ahead themselves.
      onOver: () => void this.chosen.fill(0),
    });
    // A pack may have more shards than there are sites now: those are tried last.
    this.#sites = Array.from({ length: SITES_MAX }, (_, index) => ({
      requests: 0,
      pages: 0,
      failures: index < indices ? 0 : Infinity,
    }));
  }

  /**
   * A spool for packs of which so many shards have a site; undefined where the disk has no room for it.
   *
   * @param path of its file, which is made
   */
  static make(
    source: ShardSource,
    path: string,
    indices: number,
    { bytesMin, ...limits }: SpoolLimits = LIMITS,
  ): ShardSpool | undefined {
    try {
      const file = new PageFile(path, { ...limits, pageBytes: PAGE_BYTES });
      if (file.pagesMax * PAGE_BYTES >= bytesMin) return new ShardSpool(source, file, indices);
      file.close().catch(() => undefined);
    } catch (error) {
      if (!isOfDisk(error)) throw error;
    }
    return undefined;
  }

  /** Says what will be read of a pack, after what was planned before. */
  plan(ref: DispersedRef, ordinal: number, { bytes, start, end }: Wanted): void {
    if (this.#pages.isOver) return;
    const pack = this.#packs.get(ref.id) ?? this.#remember(ref, ordinal);
    pack.wantedBytes += bytes;
    for (const page of pagesOf(ref, start, end)) {
      if (pack.wanted.has(page)) continue;
      pack.wanted.add(page);
      for (const [index, left] of pack.left) {
        if (!this.#pages.has(ref, index, page)) left.add(page);
        this.#count(index, 1);
      }
    }
    // At once: who reads it looks for this when it opens it.
    if (pack.left.size === 0) this.#choose(pack);
    this.#line(pack);
    this.#wake();
  }

  /**
   * Fills `into`, where the pack is planned: what is not here is fetched, in whole pages. Gives a `FETCH_*`; undefined
   * when the sites are to be asked.
   */
  async read(
    range: Omit<ShardRange, "bytes">,
    into: Uint8Array,
    how: How,
  ): Promise<number | undefined> {
    const pack = this.#packs.get(range.id);
    if (!pack || this.#pages.isOver || pack.wantedBytes < WANTED_BYTES_MIN) return undefined;
    pack.isRead = true;
    const { index } = range;
    const outcome = await this.#pages.read(pack.ref, range, into, how);
    // Who reads it may have chosen before this did, or have been disappointed with a shard.
    const isTurnedTo = !pack.left.has(index) && !(how.mayBeLate && pack.failed.has(index));
    if (outcome === FETCH_DONE && isTurnedTo) this.#readFrom(pack, index);
    this.#wake();
    return outcome;
  }

  /** What is still waited for ends as late. */
  close(): Promise<void> {
    return this.#pages.close();
  }

  #remember(ref: DispersedRef, ordinal: number): Pack {
    const pack: Pack = {
      ref,
      ordinal,
      wantedBytes: 0,
      wanted: new Set(),
      left: new Map(),
      isBegun: false,
      isRead: false,
      failed: new Set(),
    };
    this.#packs.set(ref.id, pack);
    const [oldest] = this.#packs.values();
    if (this.#packs.size > PACKS_REMEMBERED_MAX && oldest) {
      this.#packs.delete(oldest.ref.id);
      this.#queue.delete(oldest);
      this.#tell(oldest, []);
    }
    return pack;
  }

  /** What is wanted of it is asked for when it is its turn; see `WANTED_BYTES_MIN`. */
  #line(pack: Pack): void {
    if (pack.wantedBytes >= WANTED_BYTES_MIN) this.#queue.add(pack);
  }

  /** Tells who will open a pack from which shards it is fetched; from none, and they look ahead themselves. */
  #tell({ ordinal }: Pack, indices: Iterable<number>): void {
    let bits = 0;
    for (const index of indices) bits |= 1 << index;
    if (ordinal < this.chosen.length) Atomics.store(this.chosen, ordinal, bits);
  }

  #wake(): void {
    if (this.#isWoken) return;
    this.#isWoken = true;
    // What is planned together is asked for together.
    setImmediate(() => {
      this.#isWoken = false;
      this.#goOn();
    });
  }

  /** Asks for what will be read next, as far as there is room. */
  #goOn(): void {
    let looked = 0;
    for (const pack of this.#queue) {
      if (looked++ === PACKS_UNDER_WAY_MAX || !this.#hasRoom()) return;
      if (!pack.isBegun && !pack.isRead && this.#isPoor(pack)) this.#choose(pack);
      pack.isBegun = true;
      let isLeft = false;
      for (const [index, left] of pack.left) {
        const site = this.#sites[index];
        while (site && left.size > 0 && site.requests < REQUESTS_PER_INDEX && this.#hasRoom()) {
          site.requests++;
          const run = { ref: pack.ref, index, ...firstRun(left) };
          void this.#pages.fetchAhead(run).finally(() => {
            site.requests--;
            this.#wake();
          });
        }
        isLeft ||= left.size > 0;
      }
      if (!isLeft) this.#queue.delete(pack);
    }
  }

  #hasRoom(): boolean {
    return (
      !this.#pages.isOver &&
      this.#pages.bytesUnderWay < BYTES_UNDER_WAY_MAX &&
      this.#pages.unreadShare < UNREAD_SHARE_MAX
    );
  }

  /** Reads a pack from the k shards from which it goes best. */
  #choose(pack: Pack): void {
    for (const index of pack.left.keys()) this.#count(index, -pack.wanted.size);
    pack.left.clear();
    for (const index of this.#best(pack).slice(0, pack.ref.k)) this.#readFrom(pack, index);
  }

  /** The indices of a pack, best first: least went wrong there, it is fastest, and least is wanted. */
  #best({ ref: { n } }: Pack): readonly number[] {
    const slowness = slownessOf(this.#source.speeds.shared, n);
    return Array.from({ length: n }, (_, index) => {
      const { failures = 0, pages = 0 } = this.#sites[index] ?? {};
      return { index, failures, pages, slowness: slowness[index] ?? 0 };
    })
      .sort(
        (a, b) => compare(a.failures, b.failures) || a.slowness - b.slowness || a.pages - b.pages,
      )
      .map(({ index }) => index);
  }

  /** Whether something has become known of the sites since its shards were chosen. */
  #isPoor({ left, ref: { n } }: Pack): boolean {
    const slowness = slownessOf(this.#source.speeds.shared, n);
    return [...left.keys()].some(
      (index) => (this.#sites[index]?.failures ?? 0) > 0 || (slowness[index] ?? 0) > 0,
    );
  }

  /** Pages that are wanted of the shards of an index: so many more. */
  #count(index: number, pages: number): void {
    const site = this.#sites[index];
    if (site) site.pages += pages;
  }

  /** Reads a pack from its shard of that index too. */
  #readFrom(pack: Pack, index: number): void {
    const isMissing = (page: number): boolean => !this.#pages.has(pack.ref, index, page);
    pack.left.set(index, new Set([...pack.wanted].filter(isMissing)));
    this.#count(index, pack.wanted.size);
    this.#line(pack);
    if (pack.left.size >= pack.ref.k) this.#tell(pack, pack.left.keys());
  }

  /** Fetches no more of a pack ahead from that index. */
  #leave(pack: Pack, index: number): void {
    if (pack.left.delete(index)) this.#count(index, -pack.wanted.size);
  }

  /** The same, because it is slow. From which shard to go on is for who reads the pack to say, else found here. */
  #leaveSlow(pack: Pack, index: number): void {
    this.#leave(pack, index);
    pack.failed.add(index);
    if (pack.isRead || this.#pages.isOver) return;
    this.#pages.forget(pack.ref, index, pack.wanted);
    // Once, though several requests of it end so.
    if (pack.left.size >= pack.ref.k) return;
    const next = this.#best(pack).find((one) => !pack.left.has(one) && !pack.failed.has(one));
    if (next !== undefined) this.#readFrom(pack, next);
  }

  /** Nobody is to wait there once more for what somebody waited for in vain, as long as others can be asked. */
  #giveUp(index: number): void {
    this.#pages.giveUp(index);
    for (const pack of this.#queue) {
      if (pack.left.has(index) && pack.ref.n > pack.ref.k) this.#leaveSlow(pack, index);
    }
  }

  #asked({ ref, index, first, count }: PageRun): void {
    const left = this.#packs.get(ref.id)?.left.get(index);
    for (let page = first; page < first + count; page++) left?.delete(page);
  }

  #failed({ ref, index }: PageRun, outcome: number | undefined): void {
    const site = this.#sites[index];
    if (site && outcome !== undefined && !isSlow(outcome)) site.failures++;
    const pack = this.#packs.get(ref.id);
    if (pack && outcome !== undefined) pack.failed.add(index);
    if (pack && isSlow(outcome)) this.#leaveSlow(pack, index);
    // Who reads the pack is told, and says from which shard to go on.
    else if (pack) this.#leave(pack, index);
    if (outcome === FETCH_LATE) this.#giveUp(index);
  }
}

/** Also of infinities. */
function compare(a: number, b: number): number {
  return a === b ? 0 : a - b;
}

/** The pages of a shard that have these chunks, as far as their places can be told; and its first and last. */
function* pagesOf(ref: DispersedRef, start: number, end: number): Generator<number> {
  const blocks = blocksPerPiece(ref.packBytes, ref.k);
  const [front, bytes] = [frontBytes(ref), shardBytes(ref)];
  const pageAt = (offset: number): number => Math.floor(Math.min(offset, bytes - 1) / PAGE_BYTES);
  yield 0;
  const from = front + Math.floor(start * blocks) * BLOCK_BYTES;
  const to = front + Math.ceil(end * blocks) * BLOCK_BYTES;
  for (let page = pageAt(from); page <= pageAt(to - 1); page++) yield page;
  // What says where everything is lies behind.
  yield pageAt(bytes);
}

/** Of these pages the first, with those that follow. */
function firstRun(pages: ReadonlySet<number>): { readonly first: number; readonly count: number } {
  const first = Math.min(...pages);
  let count = 1;
  while (count < REQUEST_PAGES_MAX && pages.has(first + count)) count++;
  return { first, count };
}
