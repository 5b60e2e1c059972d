/**
 * The way in, for one thread: bytes → chunks → frames → packs → dispersal. Synchronous from end to
 * end; only the finished shards are handed over.
 */
import { type Kernel, loadKernel } from "../erasure/kernel.ts";
import { invariant } from "../errors.ts";
import { Chunker } from "./chunker.ts";
import {
  type DispersedPack,
  disperse,
  SHARD_ALIGN_BYTES,
  type ShardSlot,
  slotBytes,
} from "./dispersal.ts";
import type { EpochKeys } from "./epoch-keys.ts";
import type { KnownIds } from "./known-ids.ts";
import { FRAME_BYTES_MAX, type PackKind, SIZE_CLASSES } from "./pack.ts";
import { PackWriter, type SealedPack } from "./pack-writer.ts";

/** Fills the buffer from its start with the next bytes; returns how many, 0 at the end. */
export type ByteSource = (into: Uint8Array) => number;

/** A chunk of the input, stored now or known before; `pack` is set when it was stored now. */
export type OnChunk = (id: Uint8Array, bytes: number, pack: string | undefined) => void;

export type SealerOptions = {
  readonly keys: EpochKeys;
  readonly known: KnownIds;
  /** Packs under way at once; each has a slot, numbered from 0. One by default. */
  readonly slots?: number;
  readonly k: number;
  readonly n: number;
  /**
   * Takes a dispersed pack, whose shards lie in the slot of that number; returns when the slot may be used again
   * or, better, at once, with `awaitSlot` waiting instead.
   */
  readonly store: (sealed: SealedPack, dispersed: DispersedPack, slot: number) => void;
  /** Returns when the shards handed to `store` before with this slot are no longer needed. */
  readonly awaitSlot: (slot: number) => void;
};

const READ_BYTES = 2 * 1024 * 1024;
/** What a pushed stream buffers: the longest chunk, and what is pushed at once. */
const PUSH_BYTES = 2 * 1024 * 1024;
/** Streams that may be pushed by turns in one thread. */
const STREAMS_MAX = 2;
/** Data packs. Entries and tails are small, so their packs are. */
const PACK_BYTES = 8 * 1024 * 1024;
export const SMALL_PACK_BYTES = 2 * 1024 * 1024;
/** All n shards of a pack together are at most this long; with many shards per pack, packs are smaller. */
const SHARDS_BYTES_MAX = 48 * 1024 * 1024;
/**
 * Packs under way at once with sites far away, where they fit `SHARDS_BYTES_MAX` together. With one, the link idles
 * from the end of a pack until the next one has got going. Each more takes 13 MiB of every worker, at 3-of-5.
 */
const FAR_SLOTS_MAX = 2;

/** The pack size that keeps the shards of one pack within bounds. */
export function packBytesFor(k: number, n: number): number {
  const fits = SIZE_CLASSES.filter(
    (bytes) => bytes <= PACK_BYTES && slotBytes(bytes, k, n) <= SHARDS_BYTES_MAX,
  );
  const largest = fits.at(-1);
  invariant(largest !== undefined && largest >= 2 * FRAME_BYTES_MAX, "a pack of some frames fits");
  return largest;
}

/** How many packs a Sealer may have under way at once when sites are far away. */
export function farSlots(k: number, n: number): number {
  const fit = Math.floor(SHARDS_BYTES_MAX / slotBytes(packBytesFor(k, n), k, n));
  return Math.min(FAR_SLOTS_MAX, fit);
}

/** Input that is pushed. Chunks are reported as they are cut. */
export type SealedStream = {
  push(bytes: Uint8Array, onChunk: OnChunk): void;
  /** Cuts what is left. */
  end(onChunk: OnChunk): void;
};

export class Sealer {
  readonly kernel: Kernel;
  readonly #options: SealerOptions;
  readonly #chunker: Chunker;
  readonly #read: { readonly offset: number; readonly view: Uint8Array };
  readonly #slots: readonly ShardSlot[];
  readonly #writers = new Map<PackKind, PackWriter>();
  readonly #packBytes: number;
  /** Of all slots, that which was used longest ago. */
  #nextSlot = 0;

  constructor(options: SealerOptions) {
    const { k, n, slots = 1 } = options;
    this.#options = options;
    this.#packBytes = packBytesFor(k, n);
    const bytes = slotBytes(this.#packBytes, k, n);
    this.kernel = loadKernel(READ_BYTES + STREAMS_MAX * PUSH_BYTES + slots * bytes + 64 * 1024);
    this.#chunker = new Chunker(this.kernel, options.keys.gearTable);
    const readAt = this.kernel.alloc(READ_BYTES);
    this.#read = { offset: readAt, view: this.kernel.view(readAt, READ_BYTES) };
    this.#slots = Array.from({ length: slots }, () => ({
      offset: this.kernel.alloc(bytes, SHARD_ALIGN_BYTES),
      bytes,
    }));
  }

  /** Cuts a source into chunks and stores those that are new. */
  seal(kind: PackKind, source: ByteSource, onChunk: OnChunk): void {
    const { offset, view } = this.#read;
    let [start, end, final] = [0, 0, false];
    for (;;) {
      const length = this.#chunker.nextCut(offset + start, end - start, final);
      if (length > 0) {
        const chunk = view.subarray(start, start + length);
        this.#addChunk(kind, chunk, onChunk);
        start += length;
        continue;
      }
      if (final) return;
      view.copyWithin(0, start, end);
      [start, end] = [0, end - start];
      const got = source(view.subarray(end));
      final = got === 0;
      end += got;
    }
  }

  /** A stream that arrives piece by piece, between other work. At most two a Sealer; `end` makes it empty again. */
  openStream(kind: PackKind): SealedStream {
    const offset = this.kernel.alloc(PUSH_BYTES);
    const view = this.kernel.view(offset, PUSH_BYTES);
    let used = 0;
    const cut = (final: boolean, onChunk: OnChunk): void => {
      let start = 0;
      for (;;) {
        const length = this.#chunker.nextCut(offset + start, used - start, final);
        if (length === 0) break;
        this.#addChunk(kind, view.subarray(start, start + length), onChunk);
        start += length;
      }
      view.copyWithin(0, start, used);
      used -= start;
    };
    return {
      push: (bytes, onChunk) => {
        for (let at = 0; at < bytes.length; ) {
          const part = bytes.subarray(at, at + PUSH_BYTES - used);
          view.set(part, used);
          used += part.length;
          at += part.length;
          cut(false, onChunk);
        }
      },
      end: (onChunk) => cut(true, onChunk),
    };
  }

  /** Stores the bytes as one chunk, whether known or not: what a tail holds is found without the index. */
  sealWhole(kind: PackKind, bytes: Uint8Array, onChunk: OnChunk): void {
    const id = this.#options.keys.chunkId(bytes);
    onChunk(id, bytes.length, this.#writer(kind).add(id, bytes));
  }

  /** Seals and stores what is open. */
  flush(): void {
    for (const writer of this.#writers.values()) writer.flush();
  }

  #addChunk(kind: PackKind, chunk: Uint8Array, onChunk: OnChunk): void {
    const id = this.#options.keys.chunkId(chunk);
    const isNew = this.#options.known.claim(id);
    onChunk(id, chunk.length, isNew ? this.#writer(kind).add(id, chunk) : undefined);
  }

  #writer(kind: PackKind): PackWriter {
    let writer = this.#writers.get(kind);
    if (!writer) {
      const largest =
        kind === "data" ? this.#packBytes : Math.min(SMALL_PACK_BYTES, this.#packBytes);
      writer = new PackWriter({
        keys: this.#options.keys,
        kind,
        staging: new Uint8Array(largest),
        frame: new Uint8Array(FRAME_BYTES_MAX),
        onPack: (sealed) => this.#disperse(sealed),
      });
      this.#writers.set(kind, writer);
    }
    return writer;
  }

  #disperse(sealed: SealedPack): void {
    const { keys, k, n, store, awaitSlot } = this.#options;
    const number = this.#nextSlot;
    const slot = this.#slots[number];
    invariant(slot, "a Sealer has slots");
    this.#nextSlot = (number + 1) % this.#slots.length;
    awaitSlot(number);
    const dispersal = { ...keys.context, pack: sealed.pack, k, n, packBytes: sealed.bytes.length };
    store(sealed, disperse(this.kernel, slot, dispersal, sealed.bytes), number);
  }
}
