/**
 * Content-defined chunking: cuts fall where the content says so, and so survive insertions.
 *
 * FastCDC (Xia et al., USENIX ATC 2016) with a 32-bit gear hash, h = 2h + table[byte] mod 2^32, under
 * a table keyed per epoch so that cuts reveal no known content: no cut below `minBytes`, a strict
 * condition up to `normalBytes`, a weak one beyond ("normalised chunking"), a forced cut at `maxBytes`.
 * A hash has forgotten all but its last 32 bytes, so it starts, at zero, 32 bytes before `minBytes`.
 */
import type { Kernel } from "../erasure/kernel.ts";
import { invariant } from "../errors.ts";

/** Bytes that a gear hash remembers. */
const HASH_WINDOW_BYTES = 32;

/** Bytes of a gear table: 256 u32, little endian. */
export const GEAR_TABLE_BYTES = 1024;

export interface ChunkLimits {
  /** The least bytes of a chunk, the last of a stream excepted; at least 32. */
  readonly minBytes: number;
  /** Where the strict condition gives way to the weak one. */
  readonly normalBytes: number;
  /** The most bytes of a chunk. */
  readonly maxBytes: number;
  /** Top bits of the hash that are zero at a cut up to `normalBytes`. */
  readonly strictZeroBits: number;
  /** Top bits of the hash that are zero at a cut beyond. */
  readonly weakZeroBits: number;
}

/** The limits of the format. Tests use smaller ones. */
export const CHUNK_LIMITS: ChunkLimits = {
  minBytes: 64 * 1024,
  normalBytes: 192 * 1024,
  maxBytes: 512 * 1024,
  strictZeroBits: 18,
  weakZeroBits: 15,
};

/** Finds chunk ends in kernel memory. Keeps 1 KiB of the kernel's arena for its table. */
export class Chunker {
  readonly limits: ChunkLimits;
  readonly #kernel: Kernel;
  readonly #tableOffset: number;

  /** `table` is 1024 bytes, 256 u32 little endian. Throws `bug` on another length or odd limits. */
  constructor(kernel: Kernel, table: Uint8Array, limits: ChunkLimits = CHUNK_LIMITS) {
    invariant(
      HASH_WINDOW_BYTES <= limits.minBytes &&
        limits.minBytes <= limits.normalBytes &&
        limits.normalBytes <= limits.maxBytes,
      "chunk limits in ascending order",
    );
    this.limits = limits;
    this.#kernel = kernel;
    this.#tableOffset = kernel.alloc(GEAR_TABLE_BYTES);
    this.setTable(table);
  }

  /** Another epoch's table, for the chunks from here on; so one Chunker serves a worker's whole life. */
  setTable(table: Uint8Array): void {
    invariant(table.length === GEAR_TABLE_BYTES, `a gear table of ${table.length} bytes`);
    this.#kernel.view(this.#tableOffset, GEAR_TABLE_BYTES).set(table);
  }

  /**
   * The length of the chunk that begins at `dataOffset` in kernel memory, of which `available` bytes
   * are there; `final` says that no more follow. Returns 0 when more are needed: fewer than
   * `maxBytes` and not final, whatever they hold, so cuts do not depend on the sizes of reads; or
   * none left. Throws `bug` outside the kernel memory.
   */
  nextCut(dataOffset: number, available: number, final: boolean): number {
    const { minBytes, normalBytes, maxBytes, strictZeroBits, weakZeroBits } = this.limits;
    if (!final && available < maxBytes) return 0;
    const end = Math.min(available, maxBytes);
    if (end <= minBytes) return end;
    const normal = Math.min(normalBytes, end);
    const cut = this.#scan(dataOffset, minBytes, normal, strictZeroBits);
    if (cut !== 0) return cut;
    return this.#scan(dataOffset, normal, end, weakZeroBits) || end;
  }

  #scan(dataOffset: number, from: number, to: number, zeroBits: number): number {
    return this.#kernel.gearScan(this.#tableOffset, dataOffset, from, to, zeroBits);
  }
}
