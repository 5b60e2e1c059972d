/**
 * Reads dispersed packs: fetches blocks of any k shards, believes none that its shard's leaves do not
 * confirm, makes good what is missing from the others, and decrypts. The way back of `dispersal.ts`;
 * like it, it needs no key of the State.
 */
import { aes256ctrInto } from "../crypto/aead.ts";
import { release } from "../crypto/bytes.ts";
import type { Kernel } from "../erasure/kernel.ts";
import { reconstruct } from "../erasure/reed-solomon.ts";
import { combine, derive } from "../erasure/shamir.ts";
import { ExclaveError, invariant, isExclaveError } from "../errors.ts";
import { counterBlock } from "./dispersal.ts";
import type { DispersalId, PackId } from "./identifiers.ts";
import type { ReadAhead } from "./read-ahead.ts";
import {
  BLOCK_BYTES,
  blocksPerPiece,
  encodeLostFront,
  frontBytes,
  isBlock,
  PACK_BYTES_MAX,
  parseFront,
  type ShardFront,
  shardName,
} from "./shard.ts";

/** Where a pack was dispersed to; as a manifest lists it. */
export type DispersedRef = {
  readonly pack: PackId;
  readonly id: DispersalId;
  readonly k: number;
  readonly n: number;
  readonly packBytes: number;
};

/** One range of one shard. */
export type ShardRange = {
  readonly id: DispersalId;
  readonly index: number;
  readonly offset: number;
  readonly bytes: number;
};

/** One range of one shard, to be put at `at` in the kernel's memory where it does not lie there yet. */
export type ShardRequest = ShardRange & {
  readonly at: number;
  /** Others could be asked instead: it may be given up, as `LATE`, when it takes unusually long. */
  readonly mayBeLate?: boolean;
  /** No others could be asked: it is made also where the site is left alone for a while. */
  readonly isLastResort?: boolean;
};

/** Why a request failed that was given up, or was not made yet. It says nothing about the shard. */
export const LATE = "the site is slow";

/**
 * Fetches all, in parallel. For each, where in the kernel's memory its bytes are, until what comes next is fetched
 * ahead; or why they are not.
 */
export type ShardFetch = (requests: readonly ShardRequest[]) => readonly (number | string)[];

/** A shard that could not be used, for the report: what was wrong with it. */
export type ShardProblem = { readonly shard: string; readonly index: number; readonly why: string };

/** What is fetched and decoded at once, in bytes of the pack: as many whole rows as fit. */
const WINDOW_BYTES = 2 * 1024 * 1024;

/** Rows that are read at once. */
export function windowRows(k: number): number {
  return Math.floor(WINDOW_BYTES / (k * BLOCK_BYTES));
}

/** Kernel memory for one shard: its front, and a window of its piece behind it. */
export function shardRoom(k: number, n: number): number {
  const front = frontBytes({ packBytes: PACK_BYTES_MAX, k, n });
  return Math.ceil((front + windowRows(k) * BLOCK_BYTES) / 64) * 64;
}

/**
 * The range of a shard that has these rows of its piece; with the front when they are the first, since whoever
 * begins to read a pack needs that too.
 */
export function rowsRange(
  ref: DispersedRef,
  index: number,
  { firstRow, rows }: { readonly firstRow: number; readonly rows: number },
): ShardRange {
  const [front, bytes] = [frontBytes(ref), rows * BLOCK_BYTES];
  return firstRow === 0
    ? { id: ref.id, index, offset: 0, bytes: front + bytes }
    : { id: ref.id, index, offset: front + firstRow * BLOCK_BYTES, bytes };
}

/** Kernel memory that gathering needs. */
export function gatherBytes(k: number, n: number): number {
  return n * shardRoom(k, n);
}

export type GatherOptions = {
  readonly kernel: Kernel;
  /** `gatherBytes` of kernel memory for the largest k and n in use, shared by all gathered packs. */
  readonly memory: { readonly offset: number; readonly bytes: number };
  readonly fetch: ShardFetch;
  /** Has what will probably be read next fetched meanwhile. */
  readonly ahead?: ReadAhead;
  readonly onProblem: (problem: ShardProblem) => void;
  /** Shard indices, best first: for instance with those of a lost site last. */
  readonly prefer: (ref: DispersedRef) => readonly number[];
};

/** One dispersed pack, opened from any k good shards. */
export class GatheredPack {
  readonly ref: DispersedRef;
  readonly #options: GatherOptions;
  /** With why. */
  readonly #bad = new Map<number, string>();
  /** Those whose site was late, or left alone, once: of this pack they are asked last, and then waited for. */
  readonly #late = new Set<number>();
  readonly #fronts = new Map<number, ShardFront>();
  /** Plaintext of the pack from `#windowStart`, `#windowLength` bytes of it, up to the end of a row. */
  readonly #window: Uint8Array;
  #key: Uint8Array | undefined;
  #windowStart = 0;
  #windowLength = 0;

  constructor(ref: DispersedRef, options: GatherOptions) {
    invariant(options.memory.bytes >= gatherBytes(ref.k, ref.n), "a window of every shard fits");
    this.ref = ref;
    this.#options = options;
    // What is left of one window, the next one, and a row at either end.
    this.#window = new Uint8Array(1.5 * WINDOW_BYTES + 2 * ref.k * BLOCK_BYTES);
  }

  /**
   * The bytes [offset, offset + length) of the sealed pack; valid until the next call. With `onward`,
   * more than these are fetched, because what follows will be read next.
   * Throws `not-enough-shards` when fewer than k shards are good where it must read.
   */
  range(offset: number, length: number, onward = false): Uint8Array {
    invariant(offset >= 0 && offset + length <= this.ref.packBytes, "the range lies in the pack");
    if (length > WINDOW_BYTES) return this.#longRange(offset, length);
    if (!this.#holds(offset, length)) {
      if (!onward) return this.#aside(offset, length);
      this.#load(offset, length);
    }
    if (onward) this.#lookAhead(offset + length);
    const from = offset - this.#windowStart;
    return this.#window.subarray(from, from + length);
  }

  #longRange(offset: number, length: number): Uint8Array {
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += WINDOW_BYTES) {
      const step = Math.min(WINDOW_BYTES, length - at);
      whole.set(this.range(offset + at, step), at);
    }
    return whole;
  }

  /** Gives its window's memory back; it is not read from again. */
  close(): void {
    release(this.#window);
    this.#windowLength = 0;
  }

  /**
   * The shard of this index made anew from any k others, bit for bit as it was: front and piece. Throws
   * `not-enough-shards` as `range` does.
   */
  rebuild(index: number): { readonly front: Uint8Array; readonly piece: Uint8Array } {
    const { k, n, packBytes } = this.ref;
    invariant(index >= 0 && index < n, "a shard of the dispersal");
    this.#bad.set(index, "it is to be made anew");
    this.#fronts.delete(index);
    const blocks = blocksPerPiece(packBytes, k);
    const piece = new Uint8Array(blocks * BLOCK_BYTES);
    for (let first = 0; first < blocks; first += windowRows(k)) {
      const rows = Math.min(windowRows(k), blocks - first);
      piece.set(this.#rebuildRows(index, first, rows), first * BLOCK_BYTES);
    }
    const fronts = [...this.#fronts.values()].slice(0, k);
    const [sibling] = fronts;
    invariant(sibling, "a gathered pack has fronts");
    const shares = fronts.map((front) => ({ index: front.index, share: front.keyShare }));
    return { front: encodeLostFront(sibling, index, derive(shares, k, index), piece), piece };
  }

  #rebuildRows(index: number, first: number, rows: number): Uint8Array {
    const { k, n } = this.ref;
    const { kernel } = this.#options;
    const data = this.#readRows(first, rows);
    const pieceBytes = rows * BLOCK_BYTES;
    const present = data[index];
    if (present !== undefined) return kernel.view(present, pieceBytes);
    const wanted = { index, offset: this.#pieceRoom(index) };
    const from = data.map((offset, i) => ({ index: i, offset }));
    reconstruct(kernel, { k, n, pieceBytes, present: from, wanted: [wanted] });
    return kernel.view(wanted.offset, pieceBytes);
  }

  /** Where in the kernel's memory a shard's front goes, and its piece behind that. */
  #roomOf(index: number): number {
    return this.#options.memory.offset + index * shardRoom(this.ref.k, this.ref.n);
  }

  #pieceRoom(index: number): number {
    return this.#roomOf(index) + frontBytes(this.ref);
  }

  #holds(offset: number, length: number): boolean {
    const from = offset - this.#windowStart;
    return from >= 0 && from + length <= this.#windowLength;
  }

  /** These bytes, without a change to the window. */
  #aside(offset: number, length: number): Uint8Array {
    const rowBytes = this.ref.k * BLOCK_BYTES;
    const firstRow = Math.floor(offset / rowBytes);
    const end = Math.ceil((offset + length) / rowBytes);
    const aside = new Uint8Array((end - firstRow) * rowBytes);
    for (let row = firstRow; row < end; row += windowRows(this.ref.k)) {
      const rows = Math.min(windowRows(this.ref.k), end - row);
      this.#openRows(row, rows, aside.subarray((row - firstRow) * rowBytes));
    }
    const from = offset - firstRow * rowBytes;
    return aside.subarray(from, from + length);
  }

  /** Makes the window hold these bytes: keeps what it has of them, and adds the rows behind that. */
  #load(offset: number, length: number): void {
    const { k, packBytes } = this.ref;
    const rowBytes = k * BLOCK_BYTES;
    const end = this.#windowStart + this.#windowLength;
    let goesOn = this.#windowLength > 0 && offset >= this.#windowStart && offset <= end;
    if (goesOn) {
      this.#window.copyWithin(0, offset - this.#windowStart, this.#windowLength);
      this.#windowStart = offset;
      this.#windowLength = end - offset;
    } else {
      this.#windowStart = offset - (offset % rowBytes);
      this.#windowLength = 0;
    }
    while (!this.#holds(offset, length)) {
      const firstRow = (this.#windowStart + this.#windowLength) / rowBytes;
      const room = Math.floor((this.#window.length - this.#windowLength) / rowBytes);
      const left = blocksPerPiece(packBytes, k) - firstRow;
      const rows = Math.min(windowRows(k), room, left);
      const target = this.#window.subarray(this.#windowLength);
      this.#windowLength += this.#openRows(firstRow, rows, target);
      this.#options.ahead?.read(this.ref, firstRow, goesOn);
      goesOn = true;
    }
  }

  /** Puts rows, decrypted, at the start of `target`; returns how many bytes of the pack they are. */
  #openRows(firstRow: number, rows: number, target: Uint8Array): number {
    const { k, packBytes } = this.ref;
    const { kernel } = this.#options;
    const data = this.#readRows(firstRow, rows).map((at) => kernel.view(at, rows * BLOCK_BYTES));
    const key = this.#openKey();
    for (let row = 0, to = 0; row < rows; row++) {
      for (const piece of data) {
        target.set(piece.subarray(row * BLOCK_BYTES, (row + 1) * BLOCK_BYTES), to);
        to += BLOCK_BYTES;
      }
    }
    const offset = firstRow * k * BLOCK_BYTES;
    const bytes = Math.min(rows * k * BLOCK_BYTES, packBytes - offset);
    aes256ctrInto(target, key, counterBlock(offset), target.subarray(0, bytes));
    return bytes;
  }

  /** Has what comes behind the window fetched, once its second half is being read or reading has gone on for long. */
  #lookAhead(readTo: number): void {
    const { ahead } = this.#options;
    const { k } = this.ref;
    const end = this.#windowStart + this.#windowLength;
    if (!ahead || (readTo < end - this.#windowLength / 2 && !ahead.isRunning)) return;
    const indices = this.#choose(k, new Set());
    if (!indices.every((index) => this.#fronts.has(index))) return;
    const row = Math.ceil(end / (k * BLOCK_BYTES));
    ahead.fill(this.ref, row, indices, (index) => this.#how(index));
  }

  /** What is missing of a shard, to read these rows of it. */
  #rowRequests(index: number, firstRow: number, rows: number): readonly ShardRequest[] {
    const how = this.#how(index);
    const front = { id: this.ref.id, index, offset: 0, bytes: frontBytes(this.ref) };
    const at = this.#roomOf(index);
    const range = rowsRange(this.ref, index, { firstRow, rows });
    const isKnown = this.#fronts.has(index);
    if (firstRow === 0 && !isKnown) return [{ ...range, ...how, at }];
    const offset = front.bytes + firstRow * BLOCK_BYTES;
    const piece = { ...range, ...how, offset, bytes: rows * BLOCK_BYTES, at: at + front.bytes };
    return isKnown ? [piece] : [{ ...front, ...how, at }, piece];
  }

  #how(index: number): { readonly mayBeLate: boolean; readonly isLastResort: boolean } {
    const mayBeLate = !this.#late.has(index) && this.#hasSpare();
    return { mayBeLate, isLastResort: !mayBeLate };
  }

  /** Whether more shards are left than it takes, slow ones not counted. */
  #hasSpare(): boolean {
    const { k, n } = this.ref;
    return n - new Set([...this.#bad.keys(), ...this.#late]).size > k;
  }

  /** Where in the kernel's memory the k data pieces' blocks of these rows are, verified. */
  #readRows(firstRow: number, rows: number): readonly number[] {
    const { kernel } = this.#options;
    const { k, n } = this.ref;
    const good = new Map<number, number>();
    while (good.size < k) {
      const chosen = this.#choose(k - good.size, new Set(good.keys()));
      for (const [index, at] of this.#fetchRows(chosen, firstRow, rows)) good.set(index, at);
    }
    const wanted = Array.from({ length: k }, (_, i) => i).filter((index) => !good.has(index));
    if (wanted.length > 0) {
      const present = [...good].map(([index, offset]) => ({ index, offset }));
      const missing = wanted.map((index) => ({ index, offset: this.#pieceRoom(index) }));
      reconstruct(kernel, { k, n, pieceBytes: rows * BLOCK_BYTES, present, wanted: missing });
      for (const { index, offset } of missing) good.set(index, offset);
    }
    return Array.from({ length: k }, (_, index) => good.get(index) ?? this.#pieceRoom(index));
  }

  /** Fetches and verifies rows of these shards, and the fronts that are not known; gives where the good ones are. */
  #fetchRows(
    indices: readonly number[],
    firstRow: number,
    rows: number,
  ): ReadonlyMap<number, number> {
    const requests = indices.map((index) => this.#rowRequests(index, firstRow, rows));
    const fetched = this.#options.fetch(requests.flat());
    const good = new Map<number, number>();
    let next = 0;
    for (const [i, index] of indices.entries()) {
      const parts = fetched.slice(next, next + (requests[i]?.length ?? 0));
      next += parts.length;
      const at = this.#accept(index, parts, firstRow, rows);
      if (typeof at === "number") good.set(index, at);
      else this.#setAside(index, at);
    }
    return good;
  }

  /** Where the rows of a shard are, when its front and they are good; else what is wrong. */
  #accept(
    index: number,
    parts: readonly (number | string)[],
    firstRow: number,
    rows: number,
  ): number | string {
    const front = frontBytes(this.ref);
    const failure = parts.find((part) => typeof part === "string");
    const [first, last] = [parts.at(0), parts.at(-1)];
    if (typeof first !== "number" || typeof last !== "number") return failure ?? LATE;
    let at = last;
    if (!this.#fronts.has(index)) {
      const why = this.#keepFront(index, this.#options.kernel.view(first, front));
      if (why !== undefined) return why;
      if (parts.length === 1) at += front;
    }
    return this.#damage(index, at, firstRow, rows) ?? at;
  }

  #damage(index: number, at: number, firstRow: number, rows: number): string | undefined {
    const front = this.#fronts.get(index);
    for (let row = 0; row < rows; row++) {
      const block = this.#options.kernel.view(at + row * BLOCK_BYTES, BLOCK_BYTES);
      if (!front || !isBlock(front, firstRow + row, block)) {
        return `block ${firstRow + row} is not what was stored`;
      }
    }
    return undefined;
  }

  /** Of rows that were read: k shards are known to be good then. */
  #openKey(): Uint8Array {
    if (this.#key) return this.#key;
    const { k } = this.ref;
    const fronts = [...this.#fronts.values()].slice(0, k);
    invariant(fronts.length === k, "rows were read before");
    const shares = fronts.map((front) => ({ index: front.index, share: front.keyShare }));
    this.#key = combine(shares, k);
    return this.#key;
  }

  /** The next `count` shard indices to try. Throws `not-enough-shards` when too few are left. */
  #choose(count: number, taken: ReadonlySet<number>): readonly number[] {
    // A pack is read on from those that it was begun with, as long as they are good.
    const left = [...new Set([...this.#fronts.keys(), ...this.#options.prefer(this.ref)])].filter(
      (index) => !taken.has(index) && !this.#bad.has(index),
    );
    if (left.length < count) {
      const { pack, k, n } = this.ref;
      const good = taken.size + left.length;
      throw new ExclaveError(
        "not-enough-shards",
        `pack ${pack} needs ${k} good shards of its ${n} and has ${good}${this.#reasons()}`,
      );
    }
    const isLate = (index: number): boolean => this.#late.has(index);
    return [...left.filter((index) => !isLate(index)), ...left.filter(isLate)].slice(0, count);
  }

  /** Why shards are not good: each reason once, with how many it holds for. */
  #reasons(): string {
    const counted = Map.groupBy(this.#bad.values(), (why) => why);
    const reasons = [...counted].map(([why, all]) =>
      all.length > 1 ? `${all.length} times: ${why}` : why,
    );
    return reasons.length === 0 ? "" : ` (${reasons.join("; ")})`;
  }

  /** Keeps the front when it is that of the shard, or says why not. */
  #keepFront(index: number, bytes: Uint8Array): string | undefined {
    try {
      const front = parseFront(bytes, this.ref.id, index);
      const { pack, k, n, packBytes } = front.dispersal;
      const { ref } = this;
      if (pack !== ref.pack || k !== ref.k || n !== ref.n || packBytes !== ref.packBytes) {
        return "it is another pack's shard";
      }
      this.#fronts.set(index, front);
      return undefined;
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      return error.message;
    }
  }

  /** Not to be asked again for what has failed; what was only late, last of all. */
  #setAside(index: number, why: string): void {
    if (why === LATE) {
      this.#late.add(index);
      return;
    }
    this.#bad.set(index, why);
    this.#fronts.delete(index);
    this.#options.onProblem({ shard: shardName(this.ref.id, index), index, why });
  }
}
