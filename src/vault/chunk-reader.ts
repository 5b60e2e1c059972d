/**
 * The way back, for one thread: chunk id → index → pack → frame → chunk, each step verified. Holds a
 * few open packs and frames, never more.
 */
import { equalConstantTime, release } from "../crypto/bytes.ts";
import { ExclaveError, invariant } from "../errors.ts";
import type { EpochKeys } from "./epoch-keys.ts";
import { type DispersedRef, GatheredPack, type GatherOptions } from "./gather.ts";
import { type ChunkPlace, type Frame, tableBytes } from "./pack.ts";
import { PackReader } from "./pack-reader.ts";

const PACKS_MAX = 3;
const FRAMES_MAX = 4;
/** More than a pack can have. */
const FRAMES_IN_PACK_MAX = 2 ** 24;

/** Where the chunks of an epoch are. */
export type EpochIndex = {
  /** The ordinals of a chunk's pack and of the chunk in it; undefined when it is unknown. */
  readonly find: (id: Uint8Array) => readonly [number, number] | undefined;
  /** The dispersal of the pack of that ordinal. */
  readonly ref: (ordinal: number) => DispersedRef;
};

/** An open pack, and the ordinal of the first chunk of each of its frames. */
type OpenPack = {
  /** Which of the packs that were ever opened here: what its frames are kept under. */
  readonly serial: number;
  readonly gathered: GatheredPack;
  readonly reader: PackReader;
  readonly firstChunks: readonly number[];
};

export class ChunkReader {
  readonly #keys: EpochKeys;
  readonly #index: EpochIndex;
  readonly #gather: GatherOptions;
  /** By ordinal, or by id where there is no index. */
  readonly #packs = new Map<number | string, OpenPack>();
  /** By the pack's serial and the frame's position. */
  readonly #frames = new Map<number, Uint8Array>();
  #opened = 0;

  constructor(keys: EpochKeys, index: EpochIndex, gather: GatherOptions) {
    this.#keys = keys;
    this.#index = index;
    this.#gather = gather;
  }

  /**
   * The chunk of that id; valid until the next call. Throws `not-found` when the index does not have
   * it, `not-enough-shards` when its pack cannot be had, `altered` when it is not what its id says.
   */
  read(id: Uint8Array, bytes: number): Uint8Array {
    const found = this.#index.find(id);
    if (!found)
      throw new ExclaveError("not-found", "the index of this recovery point lacks a chunk");
    const [ordinal, chunk] = found;
    const pack = this.#open(ordinal, () => this.#index.ref(ordinal));
    const position = pack.firstChunks.findLastIndex((first) => first <= chunk);
    const frame = pack.reader.frames()[position];
    const place = frame?.chunks[chunk - (pack.firstChunks[position] ?? 0)];
    if (!frame || !place)
      throw new ExclaveError("altered", `the index and pack ${pack.reader.pack} disagree`);
    if (place.bytes !== bytes) {
      throw new ExclaveError(
        "altered",
        `a chunk of pack ${pack.reader.pack} has another length than recorded`,
      );
    }
    return this.#chunk(pack, position, frame, place, id);
  }

  /** A chunk of a pack that is known by name: of tails, which no index lists. Undefined when the pack lacks it. */
  readFrom(ref: DispersedRef, id: Uint8Array): Uint8Array | undefined {
    const pack = this.#open(ref.id, () => ref);
    for (const [position, frame] of pack.reader.frames().entries()) {
      const place = frame.chunks.find((chunk) => equalConstantTime(chunk.id, id));
      if (place) return this.#chunk(pack, position, frame, place, id);
    }
    return undefined;
  }

  #chunk(
    { serial, reader }: OpenPack,
    position: number,
    frame: Frame,
    place: ChunkPlace,
    id: Uint8Array,
  ): Uint8Array {
    const read = () => reader.readFrame(position, frame);
    const key = serial * FRAMES_IN_PACK_MAX + position;
    const raw = recall(this.#frames, key, FRAMES_MAX, read, release);
    const chunk = raw.subarray(place.offset, place.offset + place.bytes);
    if (!equalConstantTime(this.#keys.chunkId(chunk), id)) {
      throw new ExclaveError("altered", `a chunk of pack ${reader.pack} is not what its id says`);
    }
    return chunk;
  }

  #open(key: number | string, refOf: () => DispersedRef): OpenPack {
    const open = (): OpenPack => {
      const ref = refOf();
      const gathered = new GatheredPack(ref, this.#gather);
      const reader = new PackReader(this.#keys, ref.pack, ref.packBytes, (offset, length, onward) =>
        gathered.range(offset, length, onward),
      );
      const firstChunks: number[] = [];
      let count = 0;
      for (const frame of reader.frames()) {
        firstChunks.push(count);
        count += frame.chunks.length;
      }
      return { serial: this.#opened++, gathered, reader, firstChunks };
    };
    return recall(this.#packs, key, PACKS_MAX, open, ({ gathered }) => gathered.close());
  }
}

/** The cached value of a key, made when absent; the one used longest ago goes when there are too many. */
function recall<K, T>(
  cache: Map<K, T>,
  key: K,
  most: number,
  make: () => T,
  drop?: (value: T) => void,
): T {
  const cached = cache.get(key);
  const value = cached ?? make();
  if (cached !== undefined) cache.delete(key);
  cache.set(key, value);
  if (cache.size > most) {
    const oldest = cache.keys().next().value;
    const dropped = oldest === undefined ? undefined : cache.get(oldest);
    invariant(oldest !== undefined && dropped !== undefined, "a full cache has an oldest");
    cache.delete(oldest);
    drop?.(dropped);
  }
  return value;
}

/** The record of a pack in an index segment: its id, its table's length, its table. */
export const SEGMENT_RECORD_HEAD_BYTES = 20;

/** A record of an index segment. */
export function encodeSegmentRecord(pack: Uint8Array, table: Uint8Array): Uint8Array {
  const head = Buffer.alloc(SEGMENT_RECORD_HEAD_BYTES);
  head.set(pack, 0);
  head.writeUInt32LE(table.length, 16);
  return Buffer.concat([head, table]);
}

/** Longest table: that of a pack of the largest class that holds nothing but the shortest chunks. */
const TABLE_BYTES_MAX = 64 * 1024 * 1024;

/** Takes apart an index segment that arrives in blocks. Throws `malformed`. */
export class SegmentDecoder {
  #rest: Uint8Array = new Uint8Array();

  *push(
    block: Uint8Array,
  ): Generator<{ readonly pack: Uint8Array; readonly table: Uint8Array }, void> {
    const bytes = this.#rest.length === 0 ? Buffer.from(block) : Buffer.concat([this.#rest, block]);
    let at = 0;
    while (bytes.length - at >= SEGMENT_RECORD_HEAD_BYTES) {
      const length = bytes.readUInt32LE(at + 16);
      if (length > TABLE_BYTES_MAX)
        throw new ExclaveError("malformed", "an index segment is malformed");
      const from = at + SEGMENT_RECORD_HEAD_BYTES;
      if (bytes.length < from + length) break;
      yield { pack: bytes.subarray(at, at + 16), table: bytes.subarray(from, from + length) };
      at = from + length;
    }
    this.#rest = Uint8Array.from(bytes.subarray(at));
  }

  end(): void {
    if (this.#rest.length > 0) throw new ExclaveError("malformed", "an index segment is cut short");
  }
}

/** The chunk ids of a table, in order, without building its frames. Throws `malformed`. */
export function* tableChunkIds(bytes: Uint8Array): Generator<Uint8Array, void> {
  const table = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (table.length < tableBytes(0, 0)) throw new ExclaveError("malformed", "a table is cut short");
  const [frames, chunks] = [table.readUInt32LE(4), table.readUInt32LE(8)];
  if (table.length !== tableBytes(frames, chunks)) {
    throw new ExclaveError("malformed", "a table has a wrong length");
  }
  for (
    let at = tableBytes(frames, 0);
    at < table.length;
    at += tableBytes(0, 1) - tableBytes(0, 0)
  ) {
    yield table.subarray(at, at + 32);
  }
}
