/**
 * Reads one epoch of a register from its sites: roots, index, entry streams, files. The main thread
 * fetches; workers gather, open and verify.
 */
import { createReadStream } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toHex, utf8 } from "../crypto/bytes.ts";
import { sha256 } from "../crypto/hash.ts";
import { ExclaveError, invariant } from "../errors.ts";
import { WorkerPool, type WorkerPoolOptions } from "../platform/worker-pool.ts";
import type { Catalog } from "../vault/catalog.ts";
import { SegmentDecoder, tableChunkIds } from "../vault/chunk-reader.ts";
import {
  decodeRoot,
  type SnapshotRoot,
  type Statement,
  type StreamRef,
} from "../vault/documents.ts";
import { type DispersedRef, gatherBytes, type ShardProblem } from "../vault/gather.ts";
import {
  type EpochContext,
  idBytes,
  idFromBytes,
  type PackId,
  parseId,
} from "../vault/identifiers.ts";
import { KnownIds, newGeneration } from "../vault/known-ids.ts";
import { MANIFEST_ROW_BYTES, readManifestRow, writeManifestRow } from "../vault/manifest.ts";
import { isAnyFar, type SitePlace } from "../vault/open-sites.ts";
import { aheadBytes } from "../vault/read-ahead.ts";
import {
  FETCH_SLOT_WORDS,
  FETCH_SLOTS,
  type FetchMessage,
  type IndexMessage,
  type ProblemMessage,
  type ReadResult,
  type ReadTask,
  type ReadWorkerData,
} from "./read-messages.ts";
import { type ShardRead, ShardSource } from "./shard-source.ts";
import { ShardSpool } from "./shard-spool.ts";

/** Workers that read, and what is fetched ahead for them. */
export class ReadPool extends WorkerPool<ReadTask, ReadResult, FetchMessage | ProblemMessage> {
  /** Where the shards are far away, and home has room to keep some. */
  readonly spool: ShardSpool | undefined;

  constructor(
    options: WorkerPoolOptions<FetchMessage | ProblemMessage>,
    spool: ShardSpool | undefined,
  ) {
    super(options);
    this.spool = spool;
  }

  override async close(): Promise<void> {
    await super.close();
    await this.spool?.close();
  }
}

/** Restoring gives each worker what lies in its packs, so one may have to wait long for the other. */
const READ_TASKS_MAX = 16;

/** Starts workers that read through these sites (shard i is looked for at place i first). */
export function startReadPool(options: {
  readonly workers: number;
  readonly places: readonly SitePlace[];
  /** The k and n of the packs that will be read. */
  readonly shapes: readonly { readonly k: number; readonly n: number }[];
  readonly epoch?: { readonly key: Uint8Array; readonly context: EpochContext };
  readonly numericOwner: boolean;
  /** Look for a shard only where it belongs. */
  readonly strict?: boolean;
  /** The file that what is planned to be read from far away may be kept in; nothing is without it. */
  readonly spoolFile?: string;
  readonly onProblem: (problem: ShardProblem) => void;
}): ReadPool {
  const { places, spoolFile } = options;
  const controls = Array.from(
    { length: options.workers },
    () => new Int32Array(new SharedArrayBuffer(FETCH_SLOTS * FETCH_SLOT_WORDS * 4)),
  );
  const largest = (bytesOf: (k: number, n: number) => number): number =>
    Math.max(...options.shapes.map(({ k, n }) => bytesOf(k, n)), bytesOf(1, 1));
  const source = new ShardSource(places, options.strict);
  const spool =
    spoolFile !== undefined && isAnyFar(places)
      ? ShardSpool.make(source, spoolFile, places.length)
      : undefined;
  const read: ShardRead = async (range, into, how) =>
    (await spool?.read(range, into, how)) ?? source.read(range, into, how);
  return new ReadPool(
    {
      script: new URL(`./read-worker${import.meta.url.slice(-3)}`, import.meta.url),
      workers: options.workers,
      tasksPerWorkerMax: READ_TASKS_MAX,
      workerData: (worker): ReadWorkerData => {
        const fetch = controls[worker];
        invariant(fetch, "a worker of the pool");
        return {
          ...(options.epoch ? { epoch: options.epoch } : {}),
          gatherBytes: largest(gatherBytes),
          aheadBytes: options.epoch ? largest(aheadBytes) : 0,
          fetch,
          speeds: source.speeds.shared,
          numericOwner: options.numericOwner,
        };
      },
      onMessage: (message, worker) => {
        if (message.type === "problem") options.onProblem(message.problem);
        else void answerFetch(message, read, controls[worker]);
      },
    },
    spool,
  );
}

async function answerFetch(
  { slot, requests }: FetchMessage,
  read: ShardRead,
  control: Int32Array | undefined,
): Promise<void> {
  if (!control) return;
  await Promise.all(
    requests.map(async ({ id, index, offset, into, ...how }, i) => {
      const range = { id: parseId("DispersalId", id), index, offset };
      control[slot * FETCH_SLOT_WORDS + 1 + i] = await read(range, into, how);
    }),
  );
  Atomics.store(control, slot * FETCH_SLOT_WORDS, 0);
  Atomics.notify(control, slot * FETCH_SLOT_WORDS);
}

/** Chunks asked of a worker at once, in bytes. */
const LIST_BYTES = 2 * 1024 * 1024;
/** Lists that workers read before the first of them is used. */
const LISTS_AHEAD_MAX = 4;
const REF_BYTES = 36;

/** Bytes that a worker made are the main thread's own. */
function bytesOf(result: ReadResult): Uint8Array {
  if (result.type !== "bytes") throw new ExclaveError("bug", "a worker answered another question");
  return result.bytes;
}

/** Content that lies in the pack of that ordinal: its bytes, and from where to where, as shares of its chunks. */
export type PackStretch = { readonly pack: number; bytes: number; start: number; end: number };

/** An epoch that can be read. Its threads start when something has to be fetched. */
export class EpochReader {
  readonly #startPool: () => ReadPool;
  readonly #catalog: Catalog;
  readonly #cachePath: string;
  readonly #context: EpochContext;
  #pool: ReadPool | undefined;
  #chunks: KnownIds | undefined;
  /** Of each pack, by ordinal. */
  #chunkCounts: number[] = [];
  /** Manifest rows, by ordinal. */
  #rows: Buffer<ArrayBufferLike> = Buffer.alloc(0);

  constructor(
    startPool: () => ReadPool,
    catalog: Catalog,
    cachePath: string,
    context: EpochContext,
  ) {
    this.#context = context;
    this.#startPool = startPool;
    this.#catalog = catalog;
    this.#cachePath = cachePath;
  }

  get pool(): ReadPool {
    this.#pool ??= this.#startPool();
    return this.#pool;
  }

  /** The root that a statement names, verified against it. */
  async root(statement: Statement): Promise<SnapshotRoot> {
    return decodeRoot(
      await this.#readTail([statement.root.pack], [statement.root.chunk]),
      statement,
    );
  }

  /**
   * Loads the index that a root binds, from the cache or the sites, and hands it to the workers.
   * Memory: 28 bytes a chunk and their slack, 64 a pack.
   */
  async loadIndex(root: Pick<SnapshotRoot, "index">): Promise<void> {
    const chunks = new KnownIds([newGeneration(65_536, 2)]);
    this.#chunkCounts = [];
    let rows: Buffer<ArrayBufferLike> = Buffer.from(
      new SharedArrayBuffer(1024 * MANIFEST_ROW_BYTES),
    );
    let ordinal = 0;
    for (const segment of root.index) {
      for await (const { pack, table } of this.segmentRecords(segment)) {
        const ref = this.#pack(idFromBytes("PackId", pack));
        // A pack that no manifest lists cannot be read; its chunks are missed only if they are wanted.
        if (!ref) continue;
        if ((ordinal + 1) * MANIFEST_ROW_BYTES > rows.length) {
          const larger = Buffer.from(new SharedArrayBuffer(rows.length * 2));
          rows.copy(larger);
          rows = larger;
        }
        writeManifestRow(rows, ordinal * MANIFEST_ROW_BYTES, ref);
        let chunk = 0;
        for (const id of tableChunkIds(table)) chunks.claim(id, [ordinal, chunk++]);
        this.#chunkCounts.push(chunk);
        chunks.grow();
        ordinal++;
      }
    }
    this.#chunks = chunks;
    this.#rows = rows;
    const chosen = new Int32Array(new SharedArrayBuffer(ordinal * 4));
    if (this.pool.spool) this.pool.spool.chosen = chosen;
    const message: IndexMessage = {
      type: "index",
      refs: rows,
      chunks: chunks.generations,
      chosen,
    };
    this.pool.announce(message);
  }

  /** Where chunks lie, of those that the index has, in order: a stretch for all that follow each other in a pack. */
  stretches(chunks: Iterable<{ readonly id: Uint8Array; readonly bytes: number }>): PackStretch[] {
    const stretches: PackStretch[] = [];
    for (const { id, bytes } of chunks) {
      const found = this.#chunks?.value(id);
      if (!found) continue;
      const [pack, chunk] = found;
      const count = this.#chunkCounts[pack] ?? 1;
      const [start, end] = [chunk / count, (chunk + 1) / count];
      const last = stretches.at(-1);
      if (last?.pack === pack) {
        last.bytes += bytes;
        last.start = Math.min(last.start, start);
        last.end = Math.max(last.end, end);
      } else stretches.push({ pack, bytes, start, end });
    }
    return stretches;
  }

  /** Says that this will be read next, after what was said before. */
  plan(stretches: readonly PackStretch[]): void {
    const { spool } = this.pool;
    if (!spool) return;
    for (const { pack, ...wanted } of stretches) {
      spool.plan(readManifestRow(this.#rows, pack * MANIFEST_ROW_BYTES), pack, wanted);
    }
  }

  /** The records of an index segment, from the cache where it is there. */
  async *segmentRecords(
    segment: SnapshotRoot["index"][number],
  ): AsyncGenerator<{ readonly pack: Uint8Array; readonly table: Uint8Array }> {
    const file = await this.segmentFile(segment);
    const decoder = new SegmentDecoder();
    for await (const block of createReadStream(file, { highWaterMark: 1024 * 1024 })) {
      yield* decoder.push(block as Uint8Array);
    }
    decoder.end();
  }

  /** The cached file of a segment, fetched when it is not there. */
  async segmentFile(segment: SnapshotRoot["index"][number]): Promise<string> {
    const file = join(this.#cachePath, segmentFileName(segment));
    try {
      await writeFile(file, "", { flag: "r+" });
      return file;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    const temporary = `${file}.${process.pid}`;
    await writeFile(temporary, "");
    for await (const block of this.#tailStream(segment.packs, segment.segment)) {
      await writeFile(temporary, block, { flag: "a" });
    }
    await rename(temporary, file);
    return file;
  }

  /** The bytes of a stream that the index knows, in blocks. */
  async *stream(ref: StreamRef): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const block of this.read(this.#chunkLists(ref))) {
      bytes += block.length;
      if (bytes > ref.bytes)
        throw new ExclaveError("malformed", "a stream is longer than recorded");
      yield block;
    }
    if (bytes !== ref.bytes)
      throw new ExclaveError("malformed", "a stream is shorter than recorded");
  }

  /** The chunks of these lists, `encodeRef` each, in their order: a block for each list, and some ahead. */
  async *read(lists: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    const ahead: Promise<Uint8Array>[] = [];
    let [worker, last]: [number, number | undefined] = [0, undefined];
    for await (const list of lists) {
      const stretches = this.stretches(decodeRefs(list));
      // What lies in one pack goes through one worker, which has it open.
      if (stretches[0]?.pack !== last) worker = (worker + 1) % this.pool.size;
      last = stretches.at(-1)?.pack;
      this.plan(stretches);
      const { done } = await this.pool.submit({ type: "chunks", chunks: list }, { worker });
      const block = done.then(bytesOf);
      block.catch(() => undefined);
      ahead.push(block);
      const next = ahead.length > LISTS_AHEAD_MAX ? ahead.shift() : undefined;
      if (next) yield await next;
    }
    for (const block of ahead) yield await block;
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }

  /** The chunks of a stream as lists of 36-byte references, each of about `LIST_BYTES` of content. */
  async *#chunkLists(ref: StreamRef): AsyncGenerator<Uint8Array> {
    if (ref.depth === 0) {
      yield* inGroups(Buffer.concat(ref.chunks.map(({ id, bytes }) => encodeRef(id, bytes))));
      return;
    }
    let rest = Buffer.alloc(0);
    for await (const list of this.#chunkLists({ ...ref, depth: ref.depth - 1 })) {
      const { done } = await this.pool.submit({ type: "chunks", chunks: list });
      const bytes = Buffer.concat([rest, bytesOf(await done)]);
      const whole = bytes.length - (bytes.length % REF_BYTES);
      yield* inGroups(bytes.subarray(0, whole));
      rest = Buffer.from(bytes.subarray(whole));
    }
    if (rest.length > 0) throw new ExclaveError("malformed", "a list of chunks is cut short");
  }

  async *#tailStream(packs: readonly string[], ref: StreamRef): AsyncGenerator<Uint8Array> {
    if (ref.depth !== 0) throw new ExclaveError("malformed", "an index segment is nested");
    for (let at = 0; at < ref.chunks.length; at += 16) {
      yield await this.#readTail(
        packs,
        ref.chunks.slice(at, at + 16).map(({ id }) => id),
      );
    }
  }

  #pack(id: PackId): DispersedRef | undefined {
    return this.#catalog.pack(this.#context.register, this.#context.epoch, id);
  }

  async #readTail(packs: readonly string[], ids: readonly string[]): Promise<Uint8Array> {
    const rows = Buffer.alloc(packs.length * MANIFEST_ROW_BYTES);
    for (const [i, pack] of packs.entries()) {
      const ref = this.#pack(parseId("PackId", pack));
      if (!ref) throw new ExclaveError("not-found", `no manifest lists pack ${pack}`);
      writeManifestRow(rows, i * MANIFEST_ROW_BYTES, ref);
    }
    const { done } = await this.pool.submit({ type: "tail", rows, ids });
    return bytesOf(await done);
  }
}

/** A chunk reference as bytes: its id and its length. */
export function encodeRef(id: string, bytes: number): Uint8Array {
  const ref = Buffer.alloc(REF_BYTES);
  idBytes(parseId("ChunkId", id)).copy(ref);
  ref.writeUInt32LE(bytes, 32);
  return ref;
}

function* decodeRefs(
  refs: Uint8Array,
): Generator<{ readonly id: Uint8Array; readonly bytes: number }> {
  const list = Buffer.from(refs.buffer, refs.byteOffset, refs.length);
  for (let at = 0; at < list.length; at += REF_BYTES) {
    yield { id: list.subarray(at, at + 32), bytes: list.readUInt32LE(at + 32) };
  }
}

/** Lists of about `LIST_BYTES` of content. */
export function* inGroups(refs: Buffer): Generator<Uint8Array> {
  let [from, bytes] = [0, 0];
  for (let at = 0; at < refs.length; at += REF_BYTES) {
    bytes += refs.readUInt32LE(at + 32);
    if (bytes >= LIST_BYTES) {
      yield refs.subarray(from, at + REF_BYTES);
      [from, bytes] = [at + REF_BYTES, 0];
    }
  }
  if (from < refs.length) yield refs.subarray(from);
}

/** The name of a segment's file in the cache. */
export function segmentFileName(segment: SnapshotRoot["index"][number]): string {
  return `segment-${toHex(sha256(utf8(JSON.stringify(segment)))).slice(0, 32)}`;
}
