/** Fills, compresses and seals packs, one at a time. */
import { randomFillSync } from "node:crypto";
import { constants, zstdCompressSync } from "node:zlib";
import { AEAD_TAG_BYTES, keyCommitment, sealInto } from "../crypto/aead.ts";
import { release } from "../crypto/bytes.ts";
import { invariant } from "../errors.ts";
import type { EpochKeys } from "./epoch-keys.ts";
import { type PackId, randomId } from "./identifiers.ts";
import {
  type ChunkPlace,
  type Codec,
  encodeLocator,
  encodeTable,
  FRAME_BYTES_MAX,
  type Frame,
  LOCATOR_POSITION,
  PACK_CONTEXT_BYTES,
  PACK_HEADER_BYTES,
  type PackKind,
  packContext,
  positionAad,
  positionNonce,
  SIZE_CLASSES,
  TABLE_POSITION,
  tableBytes,
} from "./pack.ts";

/** A pack that is sealed and complete, in the writer's own buffer until the next call to the writer. */
export type SealedPack = {
  readonly pack: PackId;
  readonly kind: PackKind;
  /** The whole pack, as long as its size class. */
  readonly bytes: Uint8Array;
  /** Its table in plaintext: for the index. */
  readonly table: Uint8Array;
  /** Plaintext of its chunks, and what is stored of it (frames and table), without padding. */
  readonly rawBytes: number;
  readonly storedBytes: number;
  /** Raw bytes in frames that compression made no smaller. */
  readonly incompressibleBytes: number;
};

/** More than zstd ever makes of a frame: output in one piece, not two that are joined. */
const COMPRESSED_BYTES_MAX = FRAME_BYTES_MAX + FRAME_BYTES_MAX / 16;
/**
 * Level 1 with a larger hash table than it would choose for so short an input: the ratio of level 3 at
 * almost the speed of level 1, because the table still fits the processor's cache.
 */
const ZSTD_PARAMS = {
  [constants.ZSTD_c_compressionLevel]: 1,
  [constants.ZSTD_c_hashLog]: 16,
  [constants.ZSTD_c_minMatch]: 6,
};
/** A frame is stored as it is unless compression saves at least this part of it. */
const SAVING_MIN = 1 / 64;
const SAMPLE_BYTES = 64 * 1024;

export type PackWriterOptions = {
  readonly keys: EpochKeys;
  readonly kind: PackKind;
  /** Room for the largest pack to be made; its length is one of `SIZE_CLASSES`. */
  readonly staging: Uint8Array;
  /** `FRAME_BYTES_MAX` bytes. */
  readonly frame: Uint8Array;
  /** Takes each pack as it is sealed, synchronously; the buffer is used again afterwards. */
  readonly onPack: (pack: SealedPack) => void;
};

type OpenPack = {
  readonly id: PackId;
  readonly context: Uint8Array;
  readonly key: Uint8Array;
  readonly frames: Frame[];
  chunkCount: number;
  used: number;
  rawBytes: number;
  incompressibleBytes: number;
};

/**
 * Chunks go in, sealed packs come out. A pack is closed when the next chunk might not fit even if it
 * will not compress, so a full pack wastes less than one chunk.
 */
export class PackWriter {
  readonly #options: PackWriterOptions;
  #open: OpenPack | undefined;
  #lastWasStored = false;
  #frameUsed = 0;
  #frameChunks: ChunkPlace[] = [];

  constructor(options: PackWriterOptions) {
    invariant(SIZE_CLASSES.includes(options.staging.length), "staging is of a size class");
    invariant(options.frame.length === FRAME_BYTES_MAX, "the frame buffer holds a frame");
    this.#options = options;
  }

  /** Stores a chunk of 1 to `FRAME_BYTES_MAX` bytes; returns the pack it will be in. */
  add(id: Uint8Array, chunk: Uint8Array): PackId {
    invariant(chunk.length > 0 && chunk.length <= FRAME_BYTES_MAX, "a chunk fits a frame");
    if (this.#frameUsed + chunk.length > Math.min(FRAME_BYTES_MAX, this.#room(1)))
      this.#closeFrame();
    if (this.#open && chunk.length > this.#room(1)) this.flush();
    this.#open ??= this.#newPack();
    const open = this.#open;
    this.#options.frame.set(chunk, this.#frameUsed);
    this.#frameChunks.push({ id, offset: this.#frameUsed, bytes: chunk.length });
    this.#frameUsed += chunk.length;
    return open.id;
  }

  /** Seals what is open. Nothing happens when nothing is. */
  flush(): void {
    this.#closeFrame();
    const open = this.#open;
    if (!open || open.frames.length === 0) return;
    this.#open = undefined;
    this.#options.onPack(this.#seal(open));
  }

  #newPack(): OpenPack {
    const { keys, kind } = this.#options;
    const id = randomId("PackId");
    const context = packContext(keys.context, id, kind);
    return {
      id,
      context,
      key: keys.packKey(context),
      frames: [],
      chunkCount: 0,
      used: PACK_HEADER_BYTES,
      rawBytes: 0,
      incompressibleBytes: 0,
    };
  }

  /** Plaintext that the current frame may hold, with `more` chunks added, and surely fit the pack. */
  #room(more: number): number {
    const open = this.#open;
    const [used, frames, chunks] = open
      ? [open.used, open.frames.length, open.chunkCount + this.#frameChunks.length]
      : [PACK_HEADER_BYTES, 0, 0];
    const table = tableBytes(frames + 1, chunks + more) + AEAD_TAG_BYTES;
    return this.#options.staging.length - used - table - AEAD_TAG_BYTES;
  }

  #closeFrame(): void {
    const open = this.#open;
    if (!open || this.#frameChunks.length === 0) return;
    const raw = this.#options.frame.subarray(0, this.#frameUsed);
    const { codec, plain } = this.#compress(raw);
    const position = open.frames.length;
    const sealedBytes = sealInto(
      this.#options.staging.subarray(open.used),
      open.key,
      positionNonce(position),
      positionAad(open.context, position),
      plain,
    );
    if (codec === "zstd") release(plain);
    open.frames.push({
      offset: open.used,
      sealedBytes,
      rawBytes: raw.length,
      codec,
      chunks: this.#frameChunks,
    });
    open.used += sealedBytes;
    open.chunkCount += this.#frameChunks.length;
    open.rawBytes += raw.length;
    if (codec === "stored") open.incompressibleBytes += raw.length;
    this.#frameUsed = 0;
    this.#frameChunks = [];
  }

  /** What follows a frame that would not compress is tried on a sample first: scans come in series. */
  #compress(raw: Uint8Array): { readonly codec: Codec; readonly plain: Uint8Array } {
    if (this.#lastWasStored && raw.length > SAMPLE_BYTES) {
      const sample = compressed(raw.subarray(0, SAMPLE_BYTES));
      if (!sample) return { codec: "stored", plain: raw };
      release(sample);
    }
    const packed = compressed(raw);
    this.#lastWasStored = packed === undefined;
    return packed ? { codec: "zstd", plain: packed } : { codec: "stored", plain: raw };
  }

  #seal(open: OpenPack): SealedPack {
    const { staging, kind } = this.#options;
    const table = encodeTable(open.frames);
    const sealAt = (at: number, position: number, plain: Uint8Array): number =>
      sealInto(
        staging.subarray(at),
        open.key,
        positionNonce(position),
        positionAad(open.context, position),
        plain,
      );
    const tableSealed = sealAt(open.used, TABLE_POSITION, table);
    const storedBytes = open.used + tableSealed;
    const length = SIZE_CLASSES.find((size) => size >= storedBytes);
    invariant(length !== undefined && length <= staging.length, "a pack fits a size class");
    staging.set(open.context, 0);
    staging.set(keyCommitment(open.key, open.context), PACK_CONTEXT_BYTES);
    const locator = encodeLocator({ offset: open.used, sealedBytes: tableSealed });
    sealAt(PACK_HEADER_BYTES - locator.length - AEAD_TAG_BYTES, LOCATOR_POSITION, locator);
    // Random, so that even who opens the dispersal cannot tell padding from frames.
    randomFillSync(staging, storedBytes, length - storedBytes);
    return {
      pack: open.id,
      kind,
      bytes: staging.subarray(0, length),
      table,
      rawBytes: open.rawBytes,
      storedBytes,
      incompressibleBytes: open.incompressibleBytes,
    };
  }
}

/** One zstd frame, or undefined when it would save too little. The caller releases it. */
function compressed(raw: Uint8Array): Uint8Array | undefined {
  const packed = zstdCompressSync(raw, { chunkSize: COMPRESSED_BYTES_MAX, params: ZSTD_PARAMS });
  if (packed.length <= raw.length * (1 - SAVING_MIN)) return packed;
  release(packed);
  return undefined;
}
