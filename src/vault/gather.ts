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
  SITES_MAX,
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
};

/** Fetches all, in parallel; for each, undefined when the bytes are there, else why not. */
export type ShardFetch = (requests: readonly ShardRequest[]) => readonly (string | undefined)[];

/** A shard that could not be used, for the report: what was wrong with it. */
export type ShardProblem = { readonly shard: string; readonly index: number; readonly why: string };

/** The window that is fetched and decoded at once, in bytes of the pack, per k. */
const WINDOW_ROWS_BYTES = 2 * 1024 * 1024;

/** The longest front there is. */
const FRONT_BYTES_MAX = frontBytes({ packBytes: PACK_BYTES_MAX, k: 1, n: SITES_MAX });
const FRONT_ROOM_BYTES = Math.ceil(FRONT_BYTES_MAX / 64) * 64;

/** Kernel memory that gathering needs: one front, then a window of each of n shards. */
export function gatherBytes(k: number, n: number): number {
  return FRONT_ROOM_BYTES + n * windowRows(k) * BLOCK_BYTES;
}

function windowRows(k: number): number {
  // Two more, because a range need not begin and end on a row.
  return Math.ceil(WINDOW_ROWS_BYTES / (k * BLOCK_BYTES)) + 2;
}

export type GatherOptions = {
  readonly kernel: Kernel;
  /** `gatherBytes` of kernel memory for the largest k and n in use, shared by all gathered packs. */
  readonly memory: { readonly offset: number; readonly bytes: number };
  readonly fetch: ShardFetch;
  readonly onProblem: (problem: ShardProblem) => void;
  /** Shard indices, best first: for instance with those of a lost site last. */
  readonly prefer: (n: number) => readonly number[];
};

/** One dispersed pack, opened from any k good shards. */
export class GatheredPack {
  readonly ref: DispersedRef;
  readonly #options: GatherOptions;
  readonly #bad = new Set<number>();
  readonly #fronts = new Map<number, ShardFront>();
  readonly #window: Uint8Array;
  #key: Uint8Array | undefined;
  #windowStart = 0;
  #windowLength = 0;

  constructor(ref: DispersedRef, options: GatherOptions) {
    invariant(options.memory.bytes >= gatherBytes(ref.k, ref.n), "a window of every shard fits");
    this.ref = ref;
    this.#options = options;
    this.#window = new Uint8Array(windowRows(ref.k) * ref.k * BLOCK_BYTES);
  }

  /**
   * The bytes [offset, offset + length) of the sealed pack; valid until the next call.
   * Throws `not-enough-shards` when fewer than k shards are good where it must read.
   */
  range(offset: number, length: number): Uint8Array {
    invariant(offset >= 0 && offset + length <= this.ref.packBytes, "the range lies in the pack");
    const inside = this.#fromWindow(offset, length);
    if (inside) return inside;
    if (length <= WINDOW_ROWS_BYTES) {
      this.#load(offset, Math.min(WINDOW_ROWS_BYTES, this.ref.packBytes - offset));
      const loaded = this.#fromWindow(offset, length);
      invariant(loaded, "a loaded window covers what it was loaded for");
      return loaded;
    }
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += WINDOW_ROWS_BYTES) {
      const step = Math.min(WINDOW_ROWS_BYTES, length - at);
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
    this.#bad.add(index);
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
    const { kernel, memory } = this.#options;
    const { k, n } = this.ref;
    const data = this.#readRows(first, rows);
    const present = data[index];
    if (present) return present;
    const at = (i: number): number =>
      memory.offset + FRONT_ROOM_BYTES + i * windowRows(k) * BLOCK_BYTES;
    reconstruct(kernel, {
      k,
      n,
      pieceBytes: rows * BLOCK_BYTES,
      present: data.map((_, i) => ({ index: i, offset: at(i) })),
      wanted: [{ index, offset: at(index) }],
    });
    return kernel.view(at(index), rows * BLOCK_BYTES);
  }

  #fromWindow(offset: number, length: number): Uint8Array | undefined {
    const from = offset - this.#windowStart;
    if (from < 0 || from + length > this.#windowLength) return undefined;
    return this.#window.subarray(from, from + length);
  }

  #load(offset: number, length: number): void {
    const { k, packBytes } = this.ref;
    const rowBytes = k * BLOCK_BYTES;
    const firstRow = Math.floor(offset / rowBytes);
    const rows = Math.ceil((offset + length) / rowBytes) - firstRow;
    const key = this.#openKey();
    const data = this.#readRows(firstRow, rows);
    this.#windowStart = firstRow * rowBytes;
    this.#windowLength = Math.min(rows * rowBytes, packBytes - this.#windowStart);
    for (let row = 0, to = 0; row < rows; row++) {
      for (const piece of data) {
        this.#window.set(piece.subarray(row * BLOCK_BYTES, (row + 1) * BLOCK_BYTES), to);
        to += BLOCK_BYTES;
      }
    }
    const ciphertext = this.#window.subarray(0, this.#windowLength);
    aes256ctrInto(this.#window, key, counterBlock(this.#windowStart), ciphertext);
  }

  /** The k data pieces' blocks of these rows, verified, in the kernel's memory. */
  #readRows(firstRow: number, rows: number): readonly Uint8Array[] {
    const { kernel, memory } = this.#options;
    const { k, n } = this.ref;
    const pieceBytes = rows * BLOCK_BYTES;
    const at = (index: number): number =>
      memory.offset + FRONT_ROOM_BYTES + index * windowRows(k) * BLOCK_BYTES;
    const good = new Set<number>();
    while (good.size < k) {
      const chosen = this.#choose(k - good.size, good);
      const fronts = chosen.map((index) => this.#front(index));
      const requests = fronts
        .filter((front) => front !== undefined)
        .map((front) => ({
          id: this.ref.id,
          index: front.index,
          offset: frontBytes(this.ref) + firstRow * BLOCK_BYTES,
          bytes: pieceBytes,
          at: at(front.index),
        }));
      const failures = this.#options.fetch(requests);
      for (const [i, request] of requests.entries()) {
        const failure = failures[i] ?? this.#damage(request.index, request.at, firstRow, rows);
        if (failure === undefined) good.add(request.index);
        else this.#reject(request.index, failure);
      }
    }
    const wanted = Array.from({ length: k }, (_, i) => i).filter((index) => !good.has(index));
    if (wanted.length > 0) {
      reconstruct(kernel, {
        k,
        n,
        pieceBytes,
        present: [...good].map((index) => ({ index, offset: at(index) })),
        wanted: wanted.map((index) => ({ index, offset: at(index) })),
      });
    }
    return Array.from({ length: k }, (_, index) => kernel.view(at(index), pieceBytes));
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

  #openKey(): Uint8Array {
    if (this.#key) return this.#key;
    const { k } = this.ref;
    while (this.#fronts.size < k) {
      for (const index of this.#choose(k - this.#fronts.size, new Set(this.#fronts.keys()))) {
        this.#front(index);
      }
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
        `pack ${pack} needs ${k} good shards of its ${n} and has ${good}`,
      );
    }
    return left.slice(0, count);
  }

  /** The verified front of a shard, or undefined after rejecting it. */
  #front(index: number): ShardFront | undefined {
    const known = this.#fronts.get(index);
    if (known) return known;
    const { kernel, memory, fetch } = this.#options;
    const bytes = frontBytes(this.ref);
    const [failure] = fetch([{ id: this.ref.id, index, offset: 0, bytes, at: memory.offset }]);
    if (failure !== undefined) {
      this.#reject(index, failure);
      return undefined;
    }
    try {
      const front = parseFront(kernel.view(memory.offset, bytes), this.ref.id, index);
      const { pack, k, n, packBytes } = front.dispersal;
      const { ref } = this;
      if (pack !== ref.pack || k !== ref.k || n !== ref.n || packBytes !== ref.packBytes) {
        throw new ExclaveError("altered", "it is another pack's shard");
      }
      this.#fronts.set(index, front);
      return front;
    } catch (error) {
      if (!isExclaveError(error)) throw error;
      this.#reject(index, error.message);
      return undefined;
    }
  }

  #reject(index: number, why: string): void {
    this.#bad.add(index);
    this.#fronts.delete(index);
    this.#options.onProblem({ shard: shardName(this.ref.id, index), index, why });
  }
}
