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

/** One range of one shard, to be put at `at` in the kernel's memory. */
export type ShardRequest = {
  readonly id: DispersalId;
  readonly index: number;
  readonly offset: number;
  readonly bytes: number;
  readonly at: number;
  /** Others could be asked instead: it may be given up, as `LATE`, when it takes unusually long. */
  readonly mayBeLate?: boolean;
  /** No others could be asked: it is made also where the site is left alone for a while. */
  readonly isLastResort?: boolean;
};

/** Why a request failed that was given up, or was not made yet. It says nothing about the shard. */
export const LATE = "the site is slow";

/** Fetches all, in parallel; for each, undefined when the bytes are there, else why not. */
export type ShardFetch = (requests: readonly ShardRequest[]) => readonly (string | undefined)[];

/** A shard that could not be used, for the report: what was wrong with it. */
export type ShardProblem = { readonly shard: string; readonly index: number; readonly why: string };

/** What is fetched and decoded at once, in bytes of the pack: as many whole rows as fit. */
const WINDOW_BYTES = 2 * 1024 * 1024;

function windowRows(k: number): number {
  return Math.floor(WINDOW_BYTES / (k * BLOCK_BYTES));
}

/** Kernel memory for one shard: its front, or a window of its piece. */
function shardRoom(k: number, n: number): number {
  const front = frontBytes({ packBytes: PACK_BYTES_MAX, k, n });
  return Math.ceil(Math.max(front, windowRows(k) * BLOCK_BYTES) / 64) * 64;
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
  /** Told what will probably be fetched next; the memory that it goes to is not used until then. */
  readonly fetchAhead?: (requests: readonly ShardRequest[]) => void;
  readonly onProblem: (problem: ShardProblem) => void;
  /** Shard indices, best first: for instance with those of a lost site last. */
  readonly prefer: (n: number) => readonly number[];
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
  /** The end of the window behind which rows were last fetched ahead. */
  #aheadOf = 0;

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
    this.#openKey();
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
    const data = this.#readRows(first, rows);
    const present = data[index];
    if (present) return present;
    reconstruct(this.#options.kernel, {
      k,
      n,
      pieceBytes: rows * BLOCK_BYTES,
      present: data.map((_, i) => ({ index: i, offset: this.#roomOf(i) })),
      wanted: [{ index, offset: this.#roomOf(index) }],
    });
    return this.#options.kernel.view(this.#roomOf(index), rows * BLOCK_BYTES);
  }

  /** Where in the kernel's memory a shard's bytes go. */
  #roomOf(index: number): number {
    return this.#options.memory.offset + index * shardRoom(this.ref.k, this.ref.n);
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
    if (offset >= this.#windowStart && offset < end) {
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
    }
  }

  /** Puts rows, decrypted, at the start of `target`; returns how many bytes of the pack they are. */
  #openRows(firstRow: number, rows: number, target: Uint8Array): number {
    const { k, packBytes } = this.ref;
    const key = this.#openKey();
    const data = this.#readRows(firstRow, rows);
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

  /** Has the rows behind the window fetched, once its second half is being read. */
  #lookAhead(readTo: number): void {
    const { fetchAhead } = this.#options;
    const { k, packBytes } = this.ref;
    const end = this.#windowStart + this.#windowLength;
    if (!fetchAhead || readTo < end - this.#windowLength / 2 || end === packBytes) return;
    if (end === this.#aheadOf) return;
    this.#aheadOf = end;
    const firstRow = end / (k * BLOCK_BYTES);
    const rows = Math.min(windowRows(k), blocksPerPiece(packBytes, k) - firstRow);
    const indices = this.#choose(k, new Set());
    if (indices.every((index) => this.#fronts.has(index))) {
      fetchAhead(this.#rowRequests(indices, firstRow, rows));
    }
  }

  #rowRequests(indices: readonly number[], firstRow: number, rows: number): ShardRequest[] {
    const offset = frontBytes(this.ref) + firstRow * BLOCK_BYTES;
    return indices.map((index) => this.#request(index, offset, rows * BLOCK_BYTES));
  }

  #request(index: number, offset: number, bytes: number): ShardRequest {
    const mayBeLate = !this.#late.has(index) && this.#hasSpare();
    const at = this.#roomOf(index);
    return { id: this.ref.id, index, offset, bytes, at, mayBeLate, isLastResort: !mayBeLate };
  }

  /** Whether more shards are left than it takes, slow ones not counted. */
  #hasSpare(): boolean {
    const { k, n } = this.ref;
    return n - new Set([...this.#bad.keys(), ...this.#late]).size > k;
  }

  /** The k data pieces' blocks of these rows, verified, in the kernel's memory. */
  #readRows(firstRow: number, rows: number): readonly Uint8Array[] {
    const { kernel, fetch } = this.#options;
    const { k, n } = this.ref;
    const pieceBytes = rows * BLOCK_BYTES;
    const good = new Set<number>();
    while (good.size < k) {
      const chosen = this.#choose(k - good.size, good);
      this.#openFronts(chosen);
      const indices = chosen.filter((index) => this.#fronts.has(index));
      const failures = fetch(this.#rowRequests(indices, firstRow, rows));
      for (const [i, index] of indices.entries()) {
        const failure = failures[i] ?? this.#damage(index, firstRow, rows);
        if (failure === undefined) good.add(index);
        else this.#setAside(index, failure);
      }
    }
    const wanted = Array.from({ length: k }, (_, i) => i).filter((index) => !good.has(index));
    const place = (index: number) => ({ index, offset: this.#roomOf(index) });
    if (wanted.length > 0) {
      const present = [...good].map(place);
      reconstruct(kernel, { k, n, pieceBytes, present, wanted: wanted.map(place) });
    }
    return Array.from({ length: k }, (_, index) => kernel.view(this.#roomOf(index), pieceBytes));
  }

  #damage(index: number, firstRow: number, rows: number): string | undefined {
    const front = this.#fronts.get(index);
    for (let row = 0; row < rows; row++) {
      const at = this.#roomOf(index) + row * BLOCK_BYTES;
      const block = this.#options.kernel.view(at, BLOCK_BYTES);
      if (!front || !isBlock(front, firstRow + row, block)) {
        return `block ${firstRow + row} is not what was stored`;
      }
    }
    return undefined;
  }

  #openKey(): Uint8Array {
    if (this.#key) return this.#key;
    const { k } = this.ref;
    while (this.#fronts.size < k) {
      this.#openFronts(this.#choose(k - this.#fronts.size, new Set(this.#fronts.keys())));
    }
    const shares = [...this.#fronts.values()]
      .slice(0, k)
      .map((front) => ({ index: front.index, share: front.keyShare }));
    this.#key = combine(shares, k);
    return this.#key;
  }

  /** The next `count` shard indices to try. Throws `not-enough-shards` when too few are left. */
  #choose(count: number, taken: ReadonlySet<number>): readonly number[] {
    const left = this.#options
      .prefer(this.ref.n)
      .filter((index) => !taken.has(index) && !this.#bad.has(index));
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

  /** Fetches and verifies the fronts of these shards that are not known; rejects those that are not good. */
  #openFronts(indices: readonly number[]): void {
    const bytes = frontBytes(this.ref);
    const requests = indices
      .filter((index) => !this.#fronts.has(index))
      .map((index) => this.#request(index, 0, bytes));
    if (requests.length === 0) return;
    const failures = this.#options.fetch(requests);
    for (const [i, { index, at }] of requests.entries()) {
      const why = failures[i] ?? this.#keepFront(index, this.#options.kernel.view(at, bytes));
      if (why !== undefined) this.#setAside(index, why);
    }
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
