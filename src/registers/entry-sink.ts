/** Takes the entry stream of a part as it is written: to the sites in chunks, and to the cache for the next run. */
import { rename, rm } from "node:fs/promises";
import { ExclaveError } from "../errors.ts";
import type { StreamRef } from "../vault/documents.ts";
import { type Entry, EntryEncoder, type Excerpt, type RawRecord } from "../vault/entries.ts";
import { encodeRef } from "./epoch-reader.ts";
import { ParentEntriesWriter } from "./files/parent-entries.ts";
import type { SealResult, StoredChunk } from "./protect-messages.ts";
import type { SealSession } from "./seal-session.ts";

const PUSH_BYTES = 512 * 1024;
/** Chunk references that a root holds itself; of a longer stream the list is stored as a stream. */
const REFS_IN_ROOT_MAX = 64;
/** Entry streams all go through one worker, so that their chunks are cut in order. */
const ENTRY_WORKER = 0;

export class EntrySink {
  readonly #session: SealSession;
  readonly #encoder = new EntryEncoder();
  readonly #cacheFile: string;
  readonly #cache: ParentEntriesWriter;
  /** 36 bytes for about 170 KiB of entries. */
  #chunks: StoredChunk[] = [];
  #bytes = 0;
  #pushed: Promise<SealResult> | undefined;

  constructor(session: SealSession, cacheFile: string) {
    this.#session = session;
    this.#cacheFile = cacheFile;
    this.#cache = new ParentEntriesWriter(cacheFile);
  }

  entry(entry: Entry): void {
    this.#encoder.entry(entry);
  }

  /** An entry as it was encoded behind the path `previous`. */
  entryRecord(record: RawRecord, path: string, previous: string): void {
    this.#encoder.entryRecord(record, path, previous);
  }

  /** The next content record of the file before. */
  content(items: Uint8Array): void {
    this.#encoder.content(items);
  }

  excerpt(excerpt: Excerpt): void {
    this.#encoder.excerpt(excerpt);
  }

  /** True when `makeRoom` should be called before more is added. */
  get isFull(): boolean {
    return this.#encoder.out.length >= PUSH_BYTES;
  }

  async makeRoom(): Promise<void> {
    if (this.isFull) await this.#push(false);
  }

  /** Ends the stream and returns what the root says of it. */
  async end(): Promise<StreamRef> {
    await this.#push(true);
    await this.#settle();
    this.#cache.end();
    let stream: StreamRef = { depth: 0, bytes: this.#bytes, chunks: refs(this.#chunks) };
    while (stream.chunks.length > REFS_IN_ROOT_MAX) {
      const list = Buffer.concat(stream.chunks.map(({ id, bytes }) => encodeRef(id, bytes)));
      const { done } = await this.#submit(list, true);
      stream = { depth: stream.depth + 1, bytes: this.#bytes, chunks: refs(chunksOf(await done)) };
    }
    return stream;
  }

  /** Keeps the cached stream under a name that says which snapshot it is of. */
  async keepAs(file: string): Promise<void> {
    await rename(this.#cacheFile, file);
  }

  async discard(): Promise<void> {
    this.#cache.close();
    await rm(this.#cacheFile, { force: true });
  }

  async #push(end: boolean): Promise<void> {
    const bytes = Uint8Array.from(this.#encoder.out.view());
    this.#encoder.out.clear();
    this.#bytes += bytes.length;
    this.#cache.write(bytes);
    await this.#settle();
    const { done } = await this.#submit(bytes, end);
    this.#pushed = done;
  }

  async #settle(): Promise<void> {
    if (this.#pushed) this.#chunks.push(...chunksOf(await this.#pushed));
    this.#pushed = undefined;
  }

  #submit(
    bytes: Uint8Array<ArrayBuffer>,
    end: boolean,
  ): Promise<{ readonly done: Promise<SealResult> }> {
    return this.#session.submit(
      { type: "push", stream: "entries", kind: "entries", bytes, end },
      {
        worker: ENTRY_WORKER,
        transfer: bytes.buffer.byteLength === bytes.length ? [bytes.buffer] : [],
      },
    );
  }
}

function refs(chunks: readonly StoredChunk[]): StreamRef["chunks"] {
  return chunks.map(({ id, bytes }) => ({ id, bytes }));
}

/** The chunks of a push. */
export function chunksOf(result: SealResult): readonly StoredChunk[] {
  if (result.type !== "chunks") throw new ExclaveError("bug", "a worker answered another question");
  return result.chunks;
}
